"""Damaged files: the version before answers, and whoever looks finds which file it is; no other answer goes unsaid."""

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lucid.errors import DamagedVersion, TrainingFailed
from lucid.health import HealthWarnings
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.registry import ModelRegistry
from lucid.serving.rendering import render
from lucid.settings import Settings
from lucid.store.home import Home
from lucid.training import run, soundness
from lucid.versions.files import LIVE, MANIFEST
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.manifest import read_manifest
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT
from tests.support.hostile import IDS
from tests.test_cli import lucid
from tests.test_models import refresh

Damage = Callable[[Path], None]

FILES = (
    *("config.json", "origin.json", "report.json", "timings.json", "cache.json", "entities.parquet", "values.parquet"),
    *("embeddings.safetensors", "interacted.safetensors", "edges.safetensors", "texts.safetensors"),
    *("activity.safetensors", "follows.safetensors"),
    *("known_ranges.parquet", "known_words.parquet", "held_out.safetensors", "cost.json"),
    *("cache.0.bin", "cache.1.bin", "recommendations.duckdb"),
)
"""What a version of the model `board` consists of, besides its manifest."""

ASKED = (
    {"source_id": ["u05"], "target_type": ["item"]},
    {"source_id": ["u01", "nobody", *IDS[:5]], "target_type": ["item", "user"]},
    {"source_type": ["user"], "target_type": ["item"], "explain": True},
    {"source_id": ["u08"], "target_type": ["item"], "exclude_interacted": False},
    {"source_id": ["u08"], "target_type": ["item"], "target_filter": [{"field": "id", "op": "ne", "value": "i02"}]},
)


def halve(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def empty(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(0)


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b" ")


def flip(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, 1)
        opened.write(bytes([byte ^ 1]))


KINDS: tuple[Damage, ...] = (halve, empty, Path.unlink, append, flip)


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.fixture
def home(trained_hostile: Path, tmp_path: Path) -> Path:
    """Two versions of `board`, of which the second answers."""
    shutil.copytree(trained_hostile, tmp_path / "home")
    return tmp_path / "home"


def file_of(home: Path, version: int, name: str) -> Path:
    return Version(home, "board", version).folder / name


def answers(registry: ModelRegistry, version: int | None = None) -> list[bytes]:
    queries = [RecommendationQuery.model_validate({"model_id": "board", "version": version, **one}) for one in ASKED]
    return [b"".join(render(registry.recommend(query), "json")) for query in queries]


def quick_answer(registry: ModelRegistry) -> bytes | None:
    query = RecommendationQuery.model_validate({"model_id": "board", **ASKED[0]})
    answer = registry.lookup_precomputed(query, "u05")
    return b"".join(render(answer, "json")) if answer else None


def verify(registry: ModelRegistry) -> int:
    return sum(registry.verify())


def states(home: Path, *, repair: bool = False) -> dict[str, str]:
    return {found.about: found.state for found in soundness.check(Settings(home=home), repair=repair)}


@pytest.fixture(scope="module")
def expected(trained_hostile: Path) -> dict[int, list[bytes]]:
    """What each of the two versions answers."""
    return {version: answers(ModelRegistry(trained_hostile), version) for version in (1, 2)}


def test_the_manifest_names_every_file(trained_hostile: Path) -> None:
    """Each with its size and its checksum, so nothing in a folder can change unnoticed."""
    for version in (1, 2):
        folder = Version(trained_hostile, "board", version).folder
        manifest = read_manifest(folder)
        inside = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST}

        assert set(FILES) == set(inside)
        assert inside == manifest.files
        assert set(FILES) == set(manifest.sha256)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_damaged_version_is_found_and_the_one_before_answers(
    home: Path, expected: dict[int, list[bytes]], name: str, kind: Damage
) -> None:
    """At once where sizes or JSON tell, else after one comparison; both ways of answering give the same bytes."""
    kind(file_of(home, 2, name))
    warnings = HealthWarnings()
    registry = ModelRegistry(home, warnings=warnings)

    if kind is not flip or name.endswith(".json"):
        assert expected[1] == answers(registry)
    else:
        answers(registry)
    verify(registry)

    assert expected[1] == answers(registry)
    assert quick_answer(registry) in (expected[1][0], None)
    (warning,) = warnings.current()
    assert warning.startswith(f"model 'board': version 2 is damaged ({name}: ")
    assert warning.endswith("); version 1 answers; train again or run: lucid check --repair")
    assert {"board version 1": "ok", "board version 2": "damaged", "board live": "damaged", "batches": "ok"} == states(
        home
    )


@pytest.mark.parametrize("kind", [halve, empty, Path.unlink, append, flip], ids=name_of)
@pytest.mark.parametrize(
    "name", ["embeddings.safetensors", "texts.safetensors", "cache.0.bin", "config.json", "entities.parquet"]
)
def test_damage_that_comes_while_a_version_is_open_is_noticed(
    home: Path, expected: dict[int, list[bytes]], name: str, kind: Damage
) -> None:
    """What was cut short is not touched, and the version before takes over without a failed answer."""
    registry = ModelRegistry(home, patient=False)
    assert expected[2] == answers(registry)
    verify(registry)

    kind(file_of(home, 2, name))

    for answer, before, after in zip(answers(registry), expected[2], expected[1], strict=True):
        assert answer in (before, after) or kind is flip
    registry.refresh()
    verify(registry)
    assert expected[1] == answers(registry)


def test_each_version_is_compared_once(home: Path) -> None:
    """The second time nothing is read, until a file has changed."""
    registry = ModelRegistry(home)
    answers(registry)
    size = sum(file_of(home, 2, name).stat().st_size for name in FILES)

    assert [size, 0] == [verify(registry), verify(registry)]


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
def test_the_files_of_a_version_are_let_go_once_another_one_answers(home: Path) -> None:
    """At once, whatever was asked of it and found out about it: a process may open so many files, and not more."""
    registry = ModelRegistry(home, patient=False)
    answers(registry)
    verify(registry)
    handle = weakref.ref(registry._live.predictor("board").version)
    assert handle() is not None

    refresh(Workspace(home))
    registry.refresh()
    answers(registry)

    assert None is handle()


def test_a_new_version_answers_and_settles_the_warning(home: Path, expected: dict[int, list[bytes]]) -> None:
    """Also files that are put back as they were."""
    file, warnings = file_of(home, 2, "texts.safetensors"), HealthWarnings()
    registry = ModelRegistry(home, patient=False, warnings=warnings)
    was = file.read_bytes()
    halve(file)
    assert expected[1] == answers(registry)
    file.write_bytes(was)
    registry.refresh()
    assert ([], expected[2]) == (warnings.current(), answers(registry))

    halve(file)
    registry.refresh()
    assert 1 == len(warnings.current())
    Workspace(home).train("board")
    registry.refresh()
    assert [] == warnings.current()
    query = RecommendationQuery.model_validate({"model_id": "board", **ASKED[0]})
    assert 3 == registry.recommend(query).version


def test_where_no_version_is_sound_the_advice_is_to_train(home: Path) -> None:
    """An expected error, a warning, and nothing of it once a training has ended."""
    for version in (1, 2):
        empty(file_of(home, version, "edges.safetensors"))
    warnings = HealthWarnings()
    registry = ModelRegistry(home, patient=False, warnings=warnings)

    with pytest.raises(DamagedVersion, match=r"version 2 .*no sound version is left; train the model again"):
        answers(registry)
    assert 1 == len(warnings.current())
    assert (None, []) == (Workspace(home).model("board").live_version, Workspace(home).model("board").versions)
    Workspace(home).train("board")
    registry.refresh()
    assert [] == warnings.current()
    assert answers(registry)


@pytest.mark.parametrize("text", ["", "nonsense", "7", "-1", "\udcff"], ids=ascii)
def test_a_pointer_that_names_no_version_is_damage_too(home: Path, expected: dict[int, list[bytes]], text: str) -> None:
    """The newest sound version answers; a repair, a rollback or a training writes it anew."""
    pointer = ModelVersions(home, "board").folder / LIVE
    garbled = text.encode("utf-8", "surrogateescape")
    pointer.write_bytes(garbled)

    assert expected[2] == answers(ModelRegistry(home))
    assert expected[1] == answers(ModelRegistry(home), 1)
    assert "damaged" == states(home)["board live"]
    assert 2 == Workspace(home).model("board").live_version
    assert "repaired" == states(home, repair=True)["board live"]
    assert 2 == ModelVersions(home, "board").live().number
    pointer.write_bytes(garbled)
    assert 1 == Workspace(home).roll_back("board", 1).live_version
    pointer.write_bytes(garbled)
    ModelVersions(home, "board").go_live(Version(home, "board", 2))
    assert 2 == ModelVersions(home, "board").live().number


@pytest.mark.parametrize("kind", [halve, flip], ids=name_of)
def test_nobody_builds_on_a_damaged_version(home: Path, kind: Damage) -> None:
    """Asked for by its number it is refused, and so are a rollback to it and a refresh; a training begins afresh."""
    workspace = Workspace(home)
    for name in ("config.json", "embeddings.safetensors"):
        kind(file_of(home, 2, name))

    with pytest.raises(DamagedVersion, match="version 2 of this model is damaged"):
        answers(ModelRegistry(home), 2)
    with pytest.raises(DamagedVersion):
        workspace.roll_back("board", 2)
    with pytest.raises(DamagedVersion):
        refresh(workspace)
    assert 4 == workspace.train("board").version
    assert [1, 4] == [
        number for number in [version.number for version in ModelVersions(home, "board").complete()] if number != 2
    ]


def test_vectors_that_changed_unseen_are_neither_refreshed_nor_rolled_back_to(home: Path) -> None:
    """A new version would vouch for them, so all checksums are compared first."""
    flip(file_of(home, 2, "embeddings.safetensors"))

    with pytest.raises(DamagedVersion):
        refresh(Workspace(home))
    with pytest.raises(DamagedVersion):
        Workspace(home).roll_back("board", 2)


def test_only_whole_versions_are_listed(home: Path) -> None:
    """The list names what can answer, and what answers."""
    garbled = file_of(home, 2, MANIFEST)
    garbled.write_text("{")

    (model,) = Workspace(home).models()

    assert (1, [(1, True)]) == (model.live_version, [(one.version, one.live) for one in model.versions])
    assert 1 == Workspace(home).report("board")["version"]


def test_versions_of_earlier_releases_go_on(home: Path, expected: dict[int, list[bytes]]) -> None:
    """Their manifests have sizes only: they answer, and a look says that there are no checksums."""
    for version in (1, 2):
        path = file_of(home, version, MANIFEST)
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({key: manifest[key] for key in manifest if key not in ("sha256", "seal")}, indent=1))

    registry = ModelRegistry(home)
    assert expected[2] == answers(registry)
    verify(registry)
    assert expected[2] == answers(registry)
    assert ["no checksums", "no checksums", "ok", "ok"] == list(states(home).values())
    # Of the same size, but no longer what it says at its beginning.
    file_of(home, 2, "interacted.safetensors").write_bytes(
        b"\xff" * file_of(home, 2, "interacted.safetensors").stat().st_size
    )
    assert expected[1] == answers(ModelRegistry(home))


def test_a_look_changes_nothing(home: Path) -> None:
    """Not a byte of a model, a batch or the catalog."""

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    list(soundness.check(Settings(home=home)))  # opens the catalog, which may take in its journal
    before = content()
    list(soundness.check(Settings(home=home)))
    assert before == content()


def test_a_repair_sets_damaged_versions_aside(home: Path, expected: dict[int, list[bytes]]) -> None:
    """The newest sound version answers from then on, the damaged files stay, and there is nothing more to repair."""
    flip(file_of(home, 2, "cache.0.bin"))
    damaged = file_of(home, 2, "cache.0.bin").read_bytes()

    assert {
        "board version 1": "ok",
        "board live": "repaired",
        "board version 2": "repaired",
        "batches": "ok",
    } == states(home, repair=True)

    assert ["ok"] * 3 == list(states(home).values())
    assert expected[1] == answers(ModelRegistry(home))
    assert damaged == (ModelVersions(home, "board").folder / "damaged-2" / "cache.0.bin").read_bytes()


def test_a_repair_of_nothing_but_damage_says_what_to_do(home: Path) -> None:
    """The files are kept, the advice is to train, and that is enough."""
    for version in (1, 2):
        flip(file_of(home, version, "texts.safetensors"))

    repaired = lucid(home, "check", "--repair")

    assert (1, "") == (repaired.returncode, repaired.stderr)
    assert "board live: damaged (no sound version is left; run: lucid train --model-id board)" in repaired.stdout
    with pytest.raises(DamagedVersion, match="train the model again"):
        answers(ModelRegistry(home))
    Workspace(home).train("board")
    assert ["ok"] * 3 == list(states(home).values())


def test_a_model_that_is_worked_on_is_not_repaired(home: Path) -> None:
    """Its folders are those of whoever works on it."""
    halve(file_of(home, 2, "texts.safetensors"))

    with run.alone_with(Settings(home=home), "board"):
        assert "damaged" == states(home, repair=True)["board repair"]
        assert 2 == ModelVersions(home, "board").live().number
    assert "repaired" == states(home, repair=True)["board live"]


def test_the_command_says_one_line_of_each_version(home: Path) -> None:
    """Exit code 1 where something is damaged; recommendations go on, with a line on standard error."""
    sound = lucid(home, "check")
    assert (0, "") == (sound.returncode, sound.stderr)
    assert [
        "board version 1: ok",
        "board version 2: ok",
        "board live: ok (version 2)",
        "batches: ok (2 can be read)",
    ] == sound.stdout.splitlines()

    file_of(home, 2, "embeddings.safetensors").write_bytes(b"short")
    damaged = lucid(home, "check", "--model-id", "board")
    asked = lucid(home, "recommend", "--model-id", "board", "--source-id", "u05", "--target-type", "item")

    assert (1, "") == (damaged.returncode, damaged.stderr)
    assert "board version 2: damaged (embeddings.safetensors: 5 bytes instead of " in damaged.stdout
    assert "board live: damaged (names version 2, which is damaged or missing; version 1 answers)" in damaged.stdout
    assert (0, 1) == (asked.returncode, asked.stderr.count("\n"))
    assert "model 'board': version 2 is damaged" in asked.stderr
    assert asked.stdout
    assert "no model 'none'" in lucid(home, "check", "--model-id", "none").stderr


@pytest.mark.parametrize("kind", [halve, empty, Path.unlink], ids=name_of)
@pytest.mark.parametrize("name", ["rows.parquet", "rejects.parquet"])
def test_batches_that_cannot_be_read_are_found(home: Path, kind: Damage, name: str) -> None:
    """By name, with the advice to upload the file again; a repair leaves them, as there is no other copy."""
    batch, _ = Workspace(home).batches()
    kind(Home(home).batch(batch.batch_id) / name)

    for repair in (False, True):
        found = {one.about: one for one in soundness.check(Settings(home=home), repair=repair)}
        assert "damaged" == found[f"batch {batch.batch_id}"].state
        assert found[f"batch {batch.batch_id}"].detail.startswith(f"{name}: ")
        assert "1 can be read" == found["batches"].detail


@pytest.mark.parametrize("kind", [halve, flip], ids=name_of)
@pytest.mark.parametrize("name", ["embeddings.safetensors", "config.json", "entities.parquet"])
def test_an_erasure_reaches_damaged_versions(home: Path, kind: Damage, name: str) -> None:
    """Nobody can tell what they hold: the newest sound version answers without the entity, the damaged files go."""
    kind(file_of(home, 2, name))

    Workspace(home).erase("u05")

    folder = ModelVersions(home, "board").folder
    assert [folder / str(ModelVersions(home, "board").live().number)] == [
        path for path in folder.iterdir() if path.is_dir()
    ]
    answer = Workspace(home).recommend("board", source_id=["u05", "u06"], target_type="item")
    assert (["u05"], {"u06"}) == (answer.attrs["unknown_source_ids"], set(answer["source_id"]))


def test_an_erasure_reaches_what_was_set_aside(home: Path) -> None:
    """A repair keeps damaged files only as long as nobody asks for the erasure of what may be in them."""
    halve(file_of(home, 2, "embeddings.safetensors"))
    states(home, repair=True)

    Workspace(home).erase("u05")

    assert [] == list(ModelVersions(home, "board").folder.glob("damaged-*"))


def test_a_training_that_fails_says_so_although_the_live_version_is_damaged(home: Path) -> None:
    """What ends a training looks at no damaged file."""
    empty(file_of(home, 2, MANIFEST))

    with pytest.raises(TrainingFailed):
        Workspace(home).train("board", data_filters=NOTHING_LEFT)
    assert "error" == Workspace(home).status("board").status


def test_what_was_uploaded_since_is_left_out_where_it_cannot_be_read(home: Path, tmp_path: Path) -> None:
    """The version answers as it was published, and a warning says so until the batch is gone."""
    file = tmp_path / "more.csv"
    file.write_text("type,source_id,target_id,timestamp,metadata\nlikes,u05,i06,,\n")
    (batch,) = Workspace(home).import_files([file])
    rows = Home(home).batch(batch.batch_id) / "rows.parquet"
    warnings = HealthWarnings()
    was = rows.read_bytes()
    halve(rows)

    registry = ModelRegistry(home, warnings=warnings)
    query = RecommendationQuery.model_validate({"model_id": "board", **ASKED[0]})
    assert b'"served_by":"cache"' in b"".join(render(registry.recommend(query), "json"))
    (warning,) = warnings.current()
    assert warning.startswith("model 'board': what was uploaded since version 2 was trained cannot be read (")

    rows.write_bytes(was)
    assert b'"served_by":"folded-in"' in b"".join(render(registry.recommend(query), "json"))
    assert [] == warnings.current()
