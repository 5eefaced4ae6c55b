"""A version on disk: what a finished training leaves, complete or invisible.

    models/<encoded model_id>/live               number of the version that answers, replaced atomically
    models/<encoded model_id>/<version>/
        config.json, origin.json, report.json    settings, what it was trained on, how good it is
        entities.parquet, values.parquet         its entities, and their metadata (row, key, value)
        embeddings, interacted, edges            .safetensors: what scores, masks and explains
        texts.safetensors, cache.*               what answers are read from
        recommendations.duckdb                   the same answers, for SQL
        manifest.json

The manifest is written last and names every other file with its size and checksum; a folder without one is half-done.
A version whose files are not as the manifest says is damaged and does not answer. Names, sizes and the checksums of
JSON are compared whenever it is opened; the other checksums take a read of everything.
"""

import errno
import hashlib
import json
import shutil
import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.errors import (
    Damaged,
    DamagedVersion,
    LucidError,
    ModelNotReady,
    OutdatedVersion,
    Unavailable,
    UnknownModel,
    UnknownVersion,
)
from lucid.graph.adjacency import Edges
from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.model.scorer import Pair, Scorer, Vectors
from lucid.schema.fields import KeyKind, format_time
from lucid.store.arrays import MappedTensors, write_tensors
from lucid.store.catalog import Catalog
from lucid.store.documents import read_json, read_text
from lucid.store.documents import set_aside as set_file_aside
from lucid.store.files import checksum, fsync, write_text
from lucid.store.locks import file_name
from lucid.typing import Rows

EMBEDDINGS, INTERACTED, EDGES = "embeddings.safetensors", "interacted.safetensors", "edges.safetensors"
ENTITIES, VALUES, TEXTS, RECOMMENDATIONS = (
    "entities.parquet",
    "values.parquet",
    "texts.safetensors",
    "recommendations.duckdb",
)
FORMAT = 1
"""Counts up whenever the layout of a version's files changes, those of other modules included."""
CONFIG, ORIGIN, REPORT, MANIFEST, LIVE = "config.json", "origin.json", "report.json", "manifest.json", "live"
REMEDY = "roll back to another version or train the model again"
"""What mends a model of which a file is damaged."""
REMOVED = ".removed-"
"""Begins the name of what is being removed."""
_PIECE_BYTES = 1 << 20
"""Read at a time where checksums are compared: about a millisecond."""
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    struct.error,
    OSError,
)
"""What reading a garbled file may raise."""
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}
"""What says something about this process or machine and nothing about a file."""


@dataclass(frozen=True)
class Config:
    """Everything about a version that is neither a vector nor a recommendation.

    `pairs` are those that were judged on held-out interactions; `common` stands for all others.
    """

    entity_types: EntityTypes
    pairs: dict[tuple[str, str], Pair]
    common: Pair
    dampings: tuple[float, ...]
    """Of each view."""
    chosen: dict[str, Any]
    seed: int
    erased: tuple[int, ...] = ()
    """Rows of entities that were erased: they have no id any more and are never recommended."""

    def without(self, rows: Rows) -> "Config":
        """The same with further rows erased."""
        return replace(self, erased=tuple(sorted({*self.erased, *rows.tolist()})))

    def sources(self, kind: str) -> Rows:
        """Rows of a type that can get recommendations; raises UnknownType."""
        block = self.entity_types.rows(kind)
        return np.setdiff1d(np.arange(block.start, block.stop, dtype=np.int64), self.erased)


@dataclass(frozen=True)
class Origin:
    """What a version was trained on, for judging what was uploaded since.

    `batch_ids` are those of the training; the interactions of `folded_ids` were added to the vectors by refreshes.
    `keys` says how metadata keys are used, `relations` names the relations that `Edges` counts, and `newest` is the
    time of the latest interaction, Unix seconds, if any has one.
    """

    batch_ids: list[str]
    folded_ids: list[str]
    keys: dict[str, KeyKind]
    relations: list[str]
    newest: float | None


@dataclass(frozen=True)
class Model:
    """Everything that scores any pair of types: the settings, vectors and interactions of one version."""

    config: Config
    views: tuple[Vectors, ...]
    interacted: InteractionHistory
    edges: Edges
    _scorers: dict[tuple[str, str], Scorer] = field(default_factory=dict)

    def scorer(self, source_type: str, target_type: str) -> Scorer:
        """What scores a pair, kept for the next time; raises UnknownType."""
        kinds = source_type, target_type
        if kinds not in self._scorers:
            known = self.config.pairs.get(kinds)
            pair = known or replace(self.config.common, source_type=source_type, target_type=target_type)
            scorer = Scorer(self.views, pair, self.config.entity_types, self.interacted)
            self._scorers[kinds] = scorer if known else scorer.scaled()
        return self._scorers[kinds]


def model_folder(home: Path, model_id: str) -> Path:
    return home / "models" / file_name(model_id)


def version_folder(home: Path, model_id: str, version: int) -> Path:
    return model_folder(home, model_id) / str(version)


def write_views(folder: Path, views: Sequence[Vectors]) -> None:
    tensors: dict[str, NDArray[Any]] = {
        f"{number}.{name}": values
        for number, view in enumerate(views)
        for name, values in (("values", view.values), ("vectors", view.vectors), ("degrees", view.degrees))
    }
    tensors |= {f"linked.{kind}": linked for kind, linked in views[0].linked.items()}  # the same in all views
    write_tensors(folder / EMBEDDINGS, tensors)


def read_views(folder: Path, config: Config) -> tuple[Vectors, ...]:
    """Vectors of all entities in each view of a version."""
    tensors, erased = MappedTensors(folder / EMBEDDINGS), np.array(config.erased, np.int64)
    linked = {name.partition(".")[2]: rows for name, rows in tensors.items() if name.startswith("linked.")}
    return tuple(
        Vectors(
            tensors[f"{number}.values"],
            tensors[f"{number}.vectors"],
            tensors[f"{number}.degrees"],
            damping,
            linked,
            erased,
        )
        for number, damping in enumerate(config.dampings)
    )


def write_interacted(folder: Path, interacted: InteractionHistory) -> None:
    write_tensors(folder / INTERACTED, {"starts": interacted.starts, "indices": interacted.indices})


def read_interacted(folder: Path) -> InteractionHistory:
    tensors = MappedTensors(folder / INTERACTED)
    return InteractionHistory(tensors["starts"], tensors["indices"])


def read_model(folder: Path, config: Config | None = None) -> Model:
    config = config or read_config(folder)
    return Model(config, read_views(folder, config), read_interacted(folder), read_edges(folder))


def write_edges(folder: Path, edges: Edges) -> None:
    write_tensors(folder / EDGES, vars(edges))


def read_edges(folder: Path) -> Edges:
    return Edges(**MappedTensors(folder / EDGES))


def write_origin(folder: Path, origin: Origin) -> None:
    (folder / ORIGIN).write_text(json.dumps(asdict(origin)))


def read_origin(folder: Path) -> Origin:
    """What a version was trained on; raises Damaged."""
    return read_json(folder / ORIGIN, _origin, REMEDY)


def _origin(raw: Any) -> Origin:
    origin = Origin(**raw)
    lists = origin.batch_ids, origin.folded_ids, origin.relations
    if not (isinstance(origin.keys, dict) and all(isinstance(found, list) for found in lists)):
        raise TypeError("keys and lists expected")
    return origin


def write_config(folder: Path, config: Config) -> None:
    raw = {
        "format": FORMAT,
        "vocabulary": config.entity_types.to_json(),
        "pairs": [pair.to_json() for pair in config.pairs.values()],
        "common": config.common.to_json(),
        "dampings": config.dampings,
        "chosen": config.chosen,
        "seed": config.seed,
        "erased": config.erased,
    }
    (folder / CONFIG).write_text(json.dumps(raw))


def read_config(folder: Path) -> Config:
    """The settings of a version; raises OutdatedVersion where another release of Lucid wrote it, Damaged."""
    return read_json(folder / CONFIG, lambda raw: _config(raw, folder.name), REMEDY)


def _config(raw: Any, version: str) -> Config:
    if raw.get("format") != FORMAT:
        raise OutdatedVersion(
            f"version {version} of this model was written by another release of Lucid; train the model again"
        )
    pairs = [Pair.from_json(pair) for pair in raw["pairs"]]
    return Config(
        EntityTypes.from_json(raw["vocabulary"]),
        {(pair.source_type, pair.target_type): pair for pair in pairs},
        Pair.from_json(raw["common"]),
        tuple(raw["dampings"]),
        raw["chosen"],
        raw["seed"],
        tuple(raw["erased"]),
    )


def complete(home: Path, model_id: str, version: int, refresh_of: int | None, now: datetime) -> None:
    """Make a version complete by its manifest; survives a power cut at any point."""
    folder = version_folder(home, model_id, version)
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    checksums = {}
    for path in files:
        checksums[path.name] = checksum(path)  # read from memory: it was written moments ago
        fsync(path)
    manifest = {
        "model_id": model_id,
        "version": version,
        "refresh_of": refresh_of,
        "created": format_time(now),
        "files": {path.name: path.stat().st_size for path in files},
        "sha256": checksums,
    }
    write_text(folder / MANIFEST, _sealed(manifest))


def _sealed(manifest: dict[str, Any]) -> str:
    """A manifest as text, with a checksum of itself: it vouches for everything else."""
    seal = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({**manifest, "seal": seal}, indent=1)


def go_live(home: Path, model_id: str, version: int) -> None:
    """Let a complete version answer, unless a newer one does."""
    with suppress(ModelNotReady, DamagedVersion):
        live = live_version(home, model_id)
        if live >= version and is_complete(home, model_id, live):
            return
    switch(home, model_id, version)


def switch(home: Path, model_id: str, version: int) -> None:
    """Let a complete version answer, older or newer."""
    pointer = model_folder(home, model_id) / LIVE
    if pointer.is_dir():  # no file can take the place of a folder
        set_file_aside(pointer)
    write_text(pointer, str(version))


def is_complete(home: Path, model_id: str, version: int) -> bool:
    """Whether a version has its manifest and every file in it at the right size."""
    return damage(version_folder(home, model_id, version)) is None


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a version is made of; raises FileNotFoundError where it is not complete, DamagedVersion where it is garbled.

    Those of earlier releases have no checksums: `sha256` is empty then.
    """
    raw = (folder / MANIFEST).read_bytes()
    try:
        text = raw.decode()
        manifest: dict[str, Any] = json.loads(text)
        seal = manifest.pop("seal", None)
        is_sound = {"created", "refresh_of"} <= manifest.keys() and dict(manifest["files"]) != {}
        if seal or "sha256" in manifest:
            is_sound = text == _sealed(manifest)
    except _UNREADABLE:
        is_sound = False
    if not is_sound:
        raise DamagedVersion(f"version {folder.name}", f"{MANIFEST}: garbled")
    return {"sha256": {}, **manifest}


def damage(folder: Path) -> str | None:
    """What is wrong with a version's files as far as names and sizes tell; None where nothing is."""
    if not folder.is_dir():
        return "its folder is missing"
    name = MANIFEST
    try:
        for name, size in read_manifest(folder)["files"].items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name}: {found:,} bytes instead of {size:,}"
    except DamagedVersion as error:
        return error.found
    except OSError as error:
        return f"{name}: {_told(error)}"
    return None


def comparing(folder: Path, only: str = "") -> Generator[int, None, str | None]:
    """Compare a version with its manifest, checksums included; returns what is wrong, None where nothing is.

    Says after each piece how many bytes it was, so that a reader can take its time. With `only`, it reads files whose
    names end so. What it reads is what others have mapped: both come from the system's one copy in memory.
    """
    if found := damage(folder):
        return found
    name = MANIFEST
    try:
        for name, expected in read_manifest(folder)["sha256"].items():
            if name.endswith(only):
                digest = hashlib.sha256()
                with (folder / name).open("rb", buffering=0) as file:
                    while piece := file.read(_PIECE_BYTES):
                        digest.update(piece)
                        yield len(piece)
                if digest.hexdigest() != expected:
                    return f"{name}: other bytes than were published"
    except OSError as error:
        return f"{name}: {_told(error)}"
    return None


def compare(folder: Path, only: str = "") -> str | None:
    """The same at once."""
    steps = comparing(folder, only)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: str | None = end.value
            return found


def expect_sound(folder: Path, *, thoroughly: bool) -> None:
    """Raises DamagedVersion where a version's files are not as they were published.

    The checksums of JSON files are always compared, as a wrong digit there may go unnoticed; those of all others if it
    is to be done `thoroughly`: a version that is made out of this one would vouch for what is wrong in it.
    """
    if found := compare(folder, "" if thoroughly else ".json"):
        raise DamagedVersion(f"version {folder.name}", found)


@contextmanager
def reading(folder: Path) -> Iterator[Path]:
    """Open files of a version inside; raises DamagedVersion where one is not as it was published or cannot be read."""
    expect_sound(folder, thoroughly=False)
    try:
        yield folder
    except DamagedVersion:
        raise
    except (*_UNREADABLE, Damaged) as error:
        raise DamagedVersion(f"version {folder.name}", f"it cannot be read: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What an error says of a file, without its place on this machine; raised again where it says nothing of it."""
    if isinstance(error, Damaged):
        return error.message
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    if error.errno in _PASSING:
        raise error
    return "missing" if isinstance(error, FileNotFoundError) else (error.strerror or type(error).__name__)


def live_version(home: Path, model_id: str) -> int:
    """The version that answers for a model.

    Raises ModelNotReady where no training has finished yet, UnknownModel where none was ever started, DamagedVersion
    where the file names no version. Whether the version is whole is not looked at.
    """
    try:
        return live_number(home, model_id)
    except FileNotFoundError:
        raise _without_version(home, model_id) from None


def live_number(home: Path, model_id: str) -> int:
    """The version that the file `live` names, without a look at the catalog where there is none.

    Raises FileNotFoundError then, DamagedVersion where it cannot be read or names no version.
    """
    try:
        return read_text(model_folder(home, model_id) / LIVE, _version_number, "")
    except Damaged:
        raise DamagedVersion("the file `live`", "it names no version") from None


def _version_number(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise ValueError("a number expected")
    return int(text)


def _without_version(home: Path, model_id: str) -> LucidError:
    """What to say of a model for which no version answers; only the catalog knows whether it was ever trained.

    Where that does not answer, a folder tells that a training has begun.
    """
    try:
        Catalog(home).training(model_id)
    except UnknownModel as unknown:
        return unknown
    except Unavailable:
        if not model_folder(home, model_id).is_dir():
            return UnknownModel(f"no model {model_id!r}; train it first")
    return ModelNotReady(model_id)


def is_live(home: Path, model_id: str, version: int) -> bool:
    """Whether a version is the one that `live` names; raises ModelNotReady, UnknownModel."""
    try:
        return live_version(home, model_id) == version
    except DamagedVersion:
        return False


def answering_version(home: Path, model_id: str) -> int:
    """The live version or, where names and sizes of its files tell that it is damaged, the newest that is whole.

    Raises ModelNotReady, UnknownModel, and DamagedVersion where none is whole.
    """
    try:
        live = live_version(home, model_id)
        if found := damage(version_folder(home, model_id, live)):
            raise DamagedVersion(f"version {live}", found)
    except DamagedVersion:
        whole = versions(home, model_id)
        if not whole:
            raise
        return whole[-1]
    return live


def find_version(home: Path, model_id: str, version: int) -> int:
    """The version asked for; raises UnknownVersion where it was never finished, DamagedVersion where it is not whole.

    Names and sizes of files tell that; see `expect_sound`.
    """
    folder = version_folder(home, model_id, version)
    is_named = is_live(home, model_id, version)
    found = damage(folder)
    if found and (is_named or (folder / MANIFEST).exists()):
        raise DamagedVersion(f"version {version}", found)
    if found:
        answering = answering_version(home, model_id)
        raise UnknownVersion(f"model {model_id!r} has no finished version {version}; version {answering} answers")
    return version


def set_aside(home: Path, model_id: str, version: int) -> Path:
    """Rename a version's folder, so that nothing reads it any more, and return the new one."""
    folder = version_folder(home, model_id, version)
    names = (folder.with_name(f"damaged-{version}" + (f".{number}" if number else "")) for number in range(1000))
    new = next(name for name in names if not name.exists())
    folder.rename(new)
    fsync(new.parent)
    return new


def remove_set_aside(home: Path, model_id: str) -> None:
    """Remove the folders of versions that were set aside."""
    for folder in model_folder(home, model_id).glob("damaged-*"):
        shutil.rmtree(folder, ignore_errors=True)


def remove_version(home: Path, model_id: str, version: int) -> None:
    """Remove a version; renamed first, so that nobody sees a part of it."""
    _remove(version_folder(home, model_id, version))


def remove_model(home: Path, model_id: str) -> None:
    """Remove a model with all its versions, in the same way."""
    _remove(model_folder(home, model_id))


def remove_empty(home: Path, model_id: str) -> None:
    """Remove the folder of a model that has nothing in it; nobody else may work on the model meanwhile."""
    with suppress(OSError):  # mostly it is not there, or not empty
        model_folder(home, model_id).rmdir()


def _remove(folder: Path) -> None:
    aside = folder.with_name(REMOVED + folder.name)
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def versions(home: Path, model_id: str) -> list[int]:
    """Complete versions of a model, oldest first."""
    return [number for number in begun_versions(home, model_id) if is_complete(home, model_id, number)]


def begun_versions(home: Path, model_id: str) -> list[int]:
    """Versions of a model that have a folder, complete or not, oldest first."""
    folders = model_folder(home, model_id).glob("[0-9]*")
    return sorted(int(folder.name) for folder in folders if folder.name.isdecimal() and folder.is_dir())


def prune(home: Path, model_id: str, keep: int) -> None:
    """Remove all complete versions but the live one and the newest `keep` trainings; refreshes do not count."""
    live, known = live_version(home, model_id), versions(home, model_id)
    refreshes = [
        number for number in known if read_manifest(version_folder(home, model_id, number))["refresh_of"] is not None
    ]
    trainings = [number for number in known if number not in refreshes]
    for number in refreshes + trainings[:-keep]:
        if number != live:
            remove_version(home, model_id, number)
