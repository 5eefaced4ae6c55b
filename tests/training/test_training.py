"""A training ends well or in a clear error; what answered before goes on answering; nothing half-done stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from lucid.errors import AlreadyTraining, InvalidRequest, TrainingFailed, UnknownModel
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.training import run, steps
from lucid.training.report import read_report
from lucid.versions.files import LIVE, MANIFEST, REPORT
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, train_checkerboard, write_checkerboard


def test_a_failing_training_leaves_the_old_version_answering(tmp_path: Path) -> None:
    """The status says error with a message a customer understands, and version 1 still answers."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    before = workspace.recommend("board", source_id="u01", target_type="item")

    with pytest.raises(TrainingFailed):
        workspace.train("board", data_filters=NOTHING_LEFT)

    status = workspace.status("board")
    assert ("error", 2) == (status.status, status.version)
    assert status.message.startswith("no interactions are left to train on")
    assert before.equals(workspace.recommend("board", source_id="u01", target_type="item"))
    assert not Version(workspace.settings.home, "board", 2).folder.exists()


@pytest.mark.slow
def test_a_version_of_far_less_data_says_so(tmp_path: Path) -> None:
    """Without a gate it answers all the same; the next one, of as much as it, has nothing to say."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    workspace.set_gate("board", enabled=False)
    assert "" == workspace.status("board").message
    few = {"interactions": [{"field": "source_id", "op": "in", "value": ["u00", "u01", "u02"]}]}

    message = workspace.train("board", data_filters=few).message
    again = workspace.train("board", data_filters=few).message

    learned = [
        read_report(Version(workspace.settings.home, "board", number).folder).steps[-1].kept for number in (1, 2)
    ]
    assert message.startswith(f"learned from {learned[1]:,} interactions, version 1, which answered before, from ")
    assert f"from {learned[0]:,};" in message
    assert "" == again
    assert 3 == workspace.model("board").live_version


def test_a_second_training_of_a_model_is_refused_while_one_runs(workspace: Workspace) -> None:
    """Two trainings of one model at once would race for its next version."""
    request = TrainingRequest(model_id="m")
    run.enter(workspace.settings, request)

    with pytest.raises(AlreadyTraining, match="'m' is being trained"):
        run.enter(workspace.settings, request)


@pytest.mark.parametrize("model_id", ["", "a/b", "a b", "x" * 129, "ünï", "../up"])
def test_model_ids_outside_the_contract_are_refused(workspace: Workspace, model_id: str) -> None:
    """A model id is 1 to 128 of letters, digits and . _ - :"""
    with pytest.raises(InvalidRequest, match="model_id"):
        workspace.train(model_id)


@pytest.mark.parametrize("model_id", ["..", ".", "a:b", "-", "CON.2"])
def test_every_allowed_model_id_gets_a_folder_of_its_own(tmp_path: Path, model_id: str) -> None:
    """Ids that mean something to a file system are stored like any other."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path, model_id)

    assert 1 == workspace.status(model_id).version
    assert [ModelVersions(tmp_path / "home", model_id).folder] == list(Home(tmp_path / "home").models.iterdir())


def test_a_killed_training_becomes_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Killed with -9 in the middle, the next sweep says so; the old version answers, no half-done folder stays."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    catalog = Catalog(workspace.settings.home)
    process = subprocess.Popen(
        [sys.executable, "-m", "lucid", "train", "--model-id", "board"],
        env={**os.environ, "LUCID_HOME": str(workspace.settings.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (Version(workspace.settings.home, "board", 2).folder / "work").exists():
        assert process.poll() is None
        time.sleep(0.005)
    run.sweep(workspace.settings, is_lost=lambda _run, _entered: True)
    assert "running" == catalog.trainings.get("board").status.status  # it lives, so it is left alone
    process.send_signal(signal.SIGKILL)
    process.wait()

    run.sweep(workspace.settings, is_lost=lambda _run, _entered: True)

    status = catalog.trainings.get("board").status
    assert ("error", 2) == (status.status, status.version)
    assert "train again" in status.message
    assert not Version(workspace.settings.home, "board", 2).folder.exists()
    assert not workspace.recommend("board", source_id="u01", target_type="item").empty
    assert 3 == workspace.train("board").version


def test_work_that_waits_for_its_flow_run_is_not_swept(workspace: Workspace) -> None:
    """It waits for as long as it takes; once it has a run, until that is known to be lost."""
    run.enter(workspace.settings, TrainingRequest(model_id="m"), "queued")
    catalog = Catalog(workspace.settings.home)

    run.sweep(workspace.settings, is_lost=lambda _run, _entered: True)
    assert "running" == catalog.trainings.get("m").status.status
    catalog.trainings.set_flow_run("m", 1, "run", "url")
    run.sweep(workspace.settings, is_lost=lambda _run, _entered: False)
    assert "running" == catalog.trainings.get("m").status.status
    run.sweep(workspace.settings, is_lost=lambda _run, _entered: True)
    assert "error" == catalog.trainings.get("m").status.status


def test_the_next_training_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    """Without a service that sweeps, a killed training does not stand in the way of the next."""
    workspace = Workspace(tmp_path / "home")
    workspace.import_files(write_checkerboard(tmp_path))
    killed = run.enter(workspace.settings, TrainingRequest(model_id="board"), "fit")

    assert ("error", 1) == (workspace.status("board").status, killed.version)
    assert 2 == workspace.train("board").version


def test_a_training_that_has_ended_is_not_done_again(tmp_path: Path) -> None:
    """Running a finished flow run once more changes nothing of what was published."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    before = workspace.recommend("board", source_id="u01", target_type="item")

    with (
        pytest.raises(InvalidRequest, match="has ended"),
        run.working_on(workspace.settings, TrainingRequest(model_id="board"), version=1),
    ):
        pytest.fail("an ended training must not begin again")

    assert before.equals(workspace.recommend("board", source_id="u01", target_type="item"))


def test_a_training_that_dies_between_manifest_and_switch_is_completed(tmp_path: Path) -> None:
    """A complete version goes live when its dead training is swept."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    workspace.train("board")
    live = ModelVersions(workspace.settings.home, "board").folder / LIVE
    live.write_text("1")
    with duckdb.connect(str(Home(workspace.settings.home).catalog)) as connection:
        connection.execute("UPDATE trainings SET status = 'running', stage = 'publish' WHERE version = 2")

    assert "completed" == workspace.status("board").status
    assert 2 == ModelVersions(workspace.settings.home, "board").live().number


def test_a_version_without_its_manifest_does_not_exist(tmp_path: Path) -> None:
    """A folder is a version only once its manifest names all files at their sizes."""
    home = train_checkerboard(Workspace(tmp_path / "home"), tmp_path).settings.home
    folder = Version(home, "board", 1).folder
    assert Version(home, "board", 1).is_complete

    with (folder / REPORT).open("a") as file:
        file.write(" ")
    assert not Version(home, "board", 1).is_complete
    (folder / MANIFEST).unlink()
    assert [] == [version.number for version in ModelVersions(home, "board").complete()]


def test_only_the_newest_versions_are_kept(tmp_path: Path) -> None:
    """Older versions make room; the live one always stays."""
    workspace = Workspace(tmp_path / "home")
    workspace = Workspace(settings=workspace.settings.model_copy(update={"keep_versions": 2}))
    train_checkerboard(workspace, tmp_path)
    for _ in range(2):
        workspace.train("board")

    assert [2, 3] == [version.number for version in ModelVersions(workspace.settings.home, "board").complete()]


def test_a_refresh_leaves_out_what_was_interacted_with_since(tmp_path: Path) -> None:
    """The vectors stay, new interactions count for what is left out, and status still speaks of the training."""
    workspace = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    best = workspace.recommend("board", source_id="u01", target_type="item", max_recommendations=1)["target_id"][0]
    news = tmp_path / "news.csv"
    news.write_text(f"type,source_id,target_id,timestamp,metadata\nlikes,u01,{best},,\nlikes,new_user,{best},,\n")
    workspace.import_files([news])

    steps.refresh(workspace.settings, "board")

    table = workspace.recommend("board", source_id="u01", target_type="item")
    assert best not in table["target_id"].tolist()
    assert best in workspace.recommend("board", source_id="u01", target_type="item", version=1)["target_id"].tolist()
    assert 1 == workspace.status("board").version


def test_status_of_an_unknown_model_is_an_error(workspace: Workspace) -> None:
    """Nothing is made up for a model that was never trained."""
    with pytest.raises(UnknownModel):
        workspace.status("nobody")
