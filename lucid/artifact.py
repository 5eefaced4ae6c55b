"""A version on disk: what a finished training leaves, complete or invisible.

    models/<encoded model_id>/live               number of the version that answers, replaced atomically
    models/<encoded model_id>/<version>/         embeddings.safetensors, interacted.safetensors, entities.parquet,
                                                 config.json, report.json, recommendations.duckdb, manifest.json

The manifest is written last and names every other file with its size; a folder without one is half-done.
"""

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from lucid.errors import ModelNotReady, UnknownModel, UnknownVersion
from lucid.ingest import fsync
from lucid.locks import file_name
from lucid.schema import format_time
from lucid.scoring import Interacted, Pair, Vectors
from lucid.vocabulary import Vocabulary

EMBEDDINGS, INTERACTED = "embeddings.safetensors", "interacted.safetensors"
ENTITIES, RECOMMENDATIONS = "entities.parquet", "recommendations.duckdb"
CONFIG, REPORT, MANIFEST, LIVE = "config.json", "report.json", "manifest.json", "live"


@dataclass(frozen=True)
class Config:
    """Everything about a version that is neither a vector nor a recommendation."""

    vocabulary: Vocabulary
    pairs: dict[tuple[str, str], Pair]
    damping: float
    chosen: dict[str, Any]
    seed: int


def model_folder(home: Path, model_id: str) -> Path:
    return home / "models" / file_name(model_id)


def version_folder(home: Path, model_id: str, version: int) -> Path:
    return model_folder(home, model_id) / str(version)


def write_vectors(folder: Path, vectors: Vectors) -> None:
    save_file(
        {"values": vectors.values, "vectors": vectors.vectors, "degrees": vectors.degrees},
        folder / EMBEDDINGS,
    )


def read_vectors(folder: Path, damping: float) -> Vectors:
    tensors = load_file(folder / EMBEDDINGS)
    return Vectors(tensors["values"], tensors["vectors"], tensors["degrees"], damping)


def write_interacted(folder: Path, interacted: Interacted) -> None:
    save_file({"starts": interacted.starts, "indices": interacted.indices}, folder / INTERACTED)


def read_interacted(folder: Path) -> Interacted:
    tensors = load_file(folder / INTERACTED)
    return Interacted(tensors["starts"], tensors["indices"])


def write_config(folder: Path, config: Config) -> None:
    raw = {
        "vocabulary": config.vocabulary.to_json(),
        "pairs": [pair.to_json() for pair in config.pairs.values()],
        "damping": config.damping,
        "chosen": config.chosen,
        "seed": config.seed,
    }
    (folder / CONFIG).write_text(json.dumps(raw))


def read_config(folder: Path) -> Config:
    raw = json.loads((folder / CONFIG).read_text())
    pairs = [Pair.from_json(pair) for pair in raw["pairs"]]
    return Config(
        Vocabulary.from_json(raw["vocabulary"]),
        {(pair.source_type, pair.target_type): pair for pair in pairs},
        raw["damping"],
        raw["chosen"],
        raw["seed"],
    )


def publish(home: Path, model_id: str, version: int, now: datetime) -> None:
    """Make a version complete by its manifest, then let it answer. Survives a power cut at any point."""
    folder = version_folder(home, model_id, version)
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    for path in files:
        fsync(path)
    manifest = {
        "model_id": model_id,
        "version": version,
        "created": format_time(now),
        "files": {path.name: path.stat().st_size for path in files},
    }
    _replace(folder / MANIFEST, json.dumps(manifest, indent=1))
    _replace(folder.parent / LIVE, str(version))


def is_complete(home: Path, model_id: str, version: int) -> bool:
    """Whether a version has its manifest and every file in it at the right size."""
    folder = version_folder(home, model_id, version)
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except FileNotFoundError:
        return False


def live_version(home: Path, model_id: str) -> int:
    """The version that answers for a model.

    Raises ModelNotReady where no training has finished yet, UnknownModel where none was ever started.
    """
    folder = model_folder(home, model_id)
    try:
        return int((folder / LIVE).read_text())
    except FileNotFoundError:
        if folder.is_dir():
            raise ModelNotReady(f"model {model_id!r} has no finished version yet; ask for its status") from None
        raise UnknownModel(f"no model {model_id!r}; train it first") from None


def find_version(home: Path, model_id: str, version: int | None) -> int:
    """The live version, or the one asked for; raises UnknownVersion where that one is not complete."""
    live = live_version(home, model_id)
    if version is None or version == live:
        return live
    if not is_complete(home, model_id, version):
        raise UnknownVersion(f"model {model_id!r} has no finished version {version}; version {live} answers")
    return version


def remove_version(home: Path, model_id: str, version: int) -> None:
    """Remove what a version that never became complete has left."""
    shutil.rmtree(version_folder(home, model_id, version), ignore_errors=True)


def versions(home: Path, model_id: str) -> list[int]:
    """Complete versions of a model, oldest first."""
    numbers = [int(path.name) for path in model_folder(home, model_id).glob("[0-9]*") if path.is_dir()]
    return [number for number in sorted(numbers) if is_complete(home, model_id, number)]


def prune(home: Path, model_id: str, keep: int) -> None:
    """Remove all complete versions but the newest `keep` and the live one."""
    live = live_version(home, model_id)
    for number in versions(home, model_id)[:-keep]:
        if number != live:
            folder = version_folder(home, model_id, number)
            (folder / MANIFEST).unlink()  # from here on it is no version any more
            shutil.rmtree(folder)


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, also after a power cut."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text)
    fsync(aside)
    os.replace(aside, path)
    fsync(path.parent)
