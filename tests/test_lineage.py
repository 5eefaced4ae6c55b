"""Where a version comes from and what it gives: batches, choice of data, ancestors, answers, files."""

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lucid.cli import app
from lucid.errors import DamagedVersion, UnknownModel, UnknownVersion
from lucid.schema.lineage import Lineage
from lucid.store.home import Home
from lucid.training import steps
from lucid.versions.files import CONFIG, RECOMMENDATIONS
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, write_checkerboard

RELEASES = sorted((Path(__file__).parent / "fixtures").glob("home-*.tar.xz"))
WANTED = {"interactions": [{"field": "source_id", "op": "not_in", "value": ["u00", "u01"]}]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on tagged batches, an upload, a refresh that folds it in, and an erasure: versions 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("lineage")
    workspace = Workspace(folder / "home")
    workspace.import_files(write_checkerboard(folder), tags=["mine"])
    workspace.train("board", data_tags=["mine"], data_filters=WANTED, maximum_interaction_age_days=1000)
    more = folder / "more.csv"
    more.write_text("type,source_id,target_id,timestamp,metadata\nlikes,u02,i02,,\nlikes,nobody,i04,,\n")
    workspace.import_files(more, tags=["mine", "late"])
    workspace.import_files(more, tags=["others"])
    steps.refresh(workspace.settings, "board")
    workspace.erase("u01")
    return folder / "home"


@pytest.fixture
def workspace(home: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(home, tmp_path / "home")
    return Workspace(tmp_path / "home")


def names(told: Lineage) -> list[tuple[str | None, str, str]]:
    return [(batch.file_name, batch.used, batch.state) for batch in told.batches]


def test_a_version_is_followed_from_its_files_to_its_answers(workspace: Workspace) -> None:
    """An erasure of a refresh of a training: each batch by what used it, each ancestor, the answers that are there."""
    told = workspace.lineage("board")

    assert ("erasure", 3, True, True, 1) == (told.made_by, told.version, told.live, told.kept, told.erased)
    assert [(2, "refresh"), (1, "training")] == [(one.version, one.made_by) for one in told.ancestors]
    assert names(told) == [
        ("entities.csv", "trained", "completed"),
        ("interactions.csv", "trained", "completed"),
        ("more.csv", "folded in", "completed"),
    ]
    assert [49, 261, 2] == [(batch.entities or 0) + (batch.interactions or 0) for batch in told.batches]
    (pair,) = [pair for pair in told.pairs or () if pair.source_type == "user"]
    answered = workspace.recommend("board", source_type="user", target_type="item")
    assert ("item", 100, len(answered)) == (pair.target_type, pair.max_recommendations, pair.recommendations)


def test_the_choice_of_data_is_that_of_the_training(workspace: Workspace) -> None:
    """What was asked, without what an erased entity was called, and what each step kept; the files as published."""
    told = workspace.lineage("board", 3)

    assert (["mine"], 1000) == (told.selection.data_tags, told.selection.maximum_interaction_age_days)
    assert "u01" not in told.model_dump_json()
    assert "u00" in str(told.selection.data_filters)
    report = workspace.report("board")
    assert [(step["step"], step["kept"], step["removed"]) for step in report["steps"]] == [
        (step.step, step.kept, step.removed) for step in told.selection.steps or ()
    ]
    folder = ModelVersions(workspace.settings.home, "board").version(3).folder
    files = {file.name: file for file in told.files or ()}
    assert {path.name for path in folder.iterdir()} - {"manifest.json"} == files.keys()
    assert hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest() == files[CONFIG].sha256
    assert (folder / RECOMMENDATIONS).stat().st_size == files[RECOMMENDATIONS].bytes


def test_what_has_become_of_the_batches_is_told(workspace: Workspace) -> None:
    """Archived or deleted since: of one that is gone only its id is known."""
    first, second, third = workspace.lineage("board").batches
    workspace.update_batches([first.batch_id], archived=True)
    workspace.delete_batches([second.batch_id])

    told = workspace.lineage("board")

    assert names(told) == [
        ("entities.csv", "trained", "archived"),
        ("more.csv", "folded in", "completed"),
        (None, "trained", "deleted"),
    ]
    assert [first.batch_id, third.batch_id, second.batch_id] == [batch.batch_id for batch in told.batches]


def test_the_records_of_a_version_that_is_gone_stay(workspace: Workspace) -> None:
    """The training, which an erasure has removed: all that stood in its files is null."""
    told = workspace.lineage("board", 1)

    assert ("training", False, False) == (told.made_by, told.kept, told.live)
    assert [] == told.ancestors
    assert ["entities.csv", "interactions.csv"] == [batch.file_name for batch in told.batches]
    assert [None] * 6 == [
        *(told.published, told.seed, told.erased, told.pairs, told.files),
        told.selection.steps,
    ]


def test_what_is_no_version_is_told(workspace: Workspace) -> None:
    """A model that is not there, a number that was never given, a training that failed, a file that is damaged."""
    with pytest.raises(UnknownModel):
        workspace.lineage("none", 1)
    with pytest.raises(UnknownVersion, match="has no version 9"):
        workspace.lineage("board", 9)
    with pytest.raises(Exception, match="no interaction"):
        workspace.train("board", data_filters=NOTHING_LEFT)
    with pytest.raises(UnknownVersion, match=r"version 4 of model 'board' was never finished \(error\)"):
        workspace.lineage("board", 4)
    folder = Home(workspace.settings.home).version("board", 3)
    (folder / RECOMMENDATIONS).write_bytes(b"\0" * (folder / RECOMMENDATIONS).stat().st_size)
    with pytest.raises(DamagedVersion):
        workspace.lineage("board", 3)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_versions_of_an_earlier_release_have_a_lineage(release: Path, tmp_path: Path) -> None:
    """A training and its refresh, as that release has written them."""
    with tarfile.open(release) as archive:
        archive.extractall(tmp_path, filter="data")
    workspace = Workspace(tmp_path / "home")
    (model,) = workspace.models()

    training, refresh = (workspace.lineage("videos", version.version) for version in model.versions)

    assert ("training", "refresh", training.version) == (
        training.made_by,
        refresh.made_by,
        refresh.ancestors[0].version,
    )
    for told in (training, refresh):
        assert told.published
        assert {"completed"} == {batch.state for batch in told.batches}
        assert all(pair.recommendations > 0 for pair in told.pairs or ())
        assert told.selection.steps
        assert {file.name for file in told.files or ()} >= {CONFIG, RECOMMENDATIONS}


def test_the_command_shows_it_as_a_tree(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the version was made of and what it gives, each on its line; without a number, of the one that answers."""
    monkeypatch.setenv("LUCID_HOME", str(workspace.settings.home))

    said = CliRunner().invoke(app, ["models", "lineage", "board"]).output

    recommendations = sum(pair.recommendations for pair in workspace.lineage("board").pairs or ())
    for line in (
        "board version 3, made by erasure",
        "from version 1, made by training",
        "rows 261, tags mine, trained",
        "tags mine, late, folded in",
        "interactions: data_filters",
        "erased since its training: 1 entities",
        f"user → item: {recommendations:,} recommendations precomputed",
    ):
        assert line in said
