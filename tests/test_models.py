"""Models and their versions: what is shown of them, which one answers, and what deletion leaves."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lucid.errors import (
    AlreadyTraining,
    ModelNotReady,
    NotTraining,
    OutdatedVersion,
    TrainingFailed,
    UnknownModel,
    UnknownVersion,
)
from lucid.schema.fields import utc_now
from lucid.schema.recommendations import RecommendationQuery
from lucid.schema.training import TrainingRequest
from lucid.serving.registry import ModelRegistry
from lucid.store.home import Home
from lucid.training import run, steps
from lucid.versions.files import CONFIG
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two trained versions, of which the second answers."""
    folder = tmp_path_factory.mktemp("versions")
    train_checkerboard(Workspace(folder / "home"), folder).train("board")
    return folder / "home"


@pytest.fixture
def trained(home: Path, tmp_path: Path) -> Workspace:
    """A copy of it, to be changed."""
    shutil.copytree(home, tmp_path / "home")
    return Workspace(tmp_path / "home")


def answering(workspace: Workspace) -> int | None:
    return workspace.model("board").live_version


def refresh(workspace: Workspace) -> None:
    steps.refresh(workspace.settings, "board")


def test_a_model_shows_its_versions_and_their_reports(trained: Workspace) -> None:
    """The list names models and versions; asked for one model, each version carries its report."""
    (listed,) = trained.models()
    shown = trained.model("board")

    assert ("board", 2, "completed") == (listed.model_id, listed.live_version, listed.training.status)
    assert [(1, False, None), (2, True, None)] == [(one.version, one.live, one.report) for one in listed.versions]
    assert [1, 2] == [one.report["version"] for one in shown.versions if one.report]


def test_rolling_back_lets_the_version_before_answer(trained: Workspace) -> None:
    """By default the one before, by name any finished one, forward too; the answers come from it at once."""
    before = trained.recommend("board", source_id="u01", target_type="item", version=1)

    assert 1 == trained.roll_back("board").live_version
    assert before.equals(trained.recommend("board", source_id="u01", target_type="item"))
    assert 2 == trained.roll_back("board", 2).live_version


def test_after_a_rollback_the_next_training_answers_under_a_new_number(trained: Workspace) -> None:
    """A version number is given once, whichever version answers."""
    trained.roll_back("board", 1)

    trained.train("board")

    assert 3 == answering(trained)


def test_rolling_back_from_a_refresh_skips_what_it_refreshes(trained: Workspace) -> None:
    """A refresh has the vectors of its training, so going back to that would change nothing."""
    refresh(trained)
    assert 3 == answering(trained)

    assert 1 == trained.roll_back("board").live_version


def test_there_must_be_a_version_to_roll_back_to(trained: Workspace) -> None:
    """An unknown version, one before the first, an unknown model: refused, and nothing changes."""
    with pytest.raises(UnknownVersion, match="no finished version 9"):
        trained.roll_back("board", 9)
    trained.roll_back("board", 1)
    with pytest.raises(UnknownVersion, match="no finished version before 1; version 1 answers"):
        trained.roll_back("board")
    with pytest.raises(UnknownModel):
        trained.roll_back("nobody")

    assert 1 == answering(trained)
    assert not Home(trained.settings.home).lock("train-nobody").exists()


def test_a_deleted_model_is_gone_and_its_numbers_are_never_given_again(trained: Workspace) -> None:
    """No answer, no status, no file; a new model of that name begins where the old one ended."""
    deleted = trained.delete_model("board")

    assert ("board", [1, 2]) == (deleted.model_id, [version.version for version in deleted.versions])
    assert [] == trained.models()
    assert [] == list(Home(trained.settings.home).models.iterdir())
    for ask in (trained.status, trained.model, trained.report, trained.delete_model):
        with pytest.raises(UnknownModel):
            ask("board")
    assert trained.train("board").version > 2
    assert answering(trained) == trained.status("board").version


def test_a_version_that_goes_while_it_is_opened_is_looked_for_again(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading which version answers and opening its files, another may take its place."""
    home = trained.settings.home
    said, pointed_at = [Version(home, "board", 1)] * 2, ModelVersions.pointed_at
    ModelVersions(home, "board").remove_version(Version(home, "board", 1))
    monkeypatch.setattr(ModelVersions, "pointed_at", lambda versions: said.pop() if said else pointed_at(versions))
    query = RecommendationQuery(model_id="board", source_id=["u01"], target_type=["item"])

    assert 2 == ModelRegistry(home).recommend(query).version
    assert not said


def test_a_version_of_another_release_asks_for_a_training(trained: Workspace) -> None:
    """It is shown, but neither answers nor is refreshed; a training takes its place."""
    path = Version(trained.settings.home, "board", 2).folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    Version(trained.settings.home, "board", 2).complete(None, utc_now())

    with pytest.raises(OutdatedVersion, match="train the model again"):
        trained.recommend("board", source_id="u01", target_type="item")
    with pytest.raises(OutdatedVersion):
        refresh(trained)
    assert 2 == answering(trained)

    trained.train("board")
    assert not trained.recommend("board", source_id="u01", target_type="item").empty


def test_a_model_in_training_is_neither_deleted_nor_rolled_back(trained: Workspace) -> None:
    """A training that waits or runs would bring it back; one without a finished version has nothing to roll back to."""
    run.enter(trained.settings, TrainingRequest(model_id="board"), "queued")
    run.enter(trained.settings, TrainingRequest(model_id="new"), "queued")

    with pytest.raises(AlreadyTraining):
        trained.delete_model("board")
    with pytest.raises(ModelNotReady):
        trained.roll_back("new")
    with run.alone_with(trained.settings, "board"), pytest.raises(AlreadyTraining):
        trained.roll_back("board")

    assert 2 == answering(trained)


def test_a_cancelled_training_ends_wherever_it_runs(trained: Workspace) -> None:
    """Another process trains: it stops by itself, the status says cancelled, the old version answers."""
    home = trained.settings.home
    process = subprocess.Popen(
        [sys.executable, "-m", "lucid", "train", "--model-id", "board"],
        env={**os.environ, "LUCID_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not Version(home, "board", 3).folder.exists():
        assert process.poll() is None
        time.sleep(0.005)

    status = trained.cancel("board")

    assert ("error", "cancelled", 3) == (status.status, status.message, status.version)
    assert (1, "lucid: cancelled\n") == (process.wait(30), process.communicate()[1])
    assert not Version(home, "board", 3).folder.exists()
    assert 2 == answering(trained)


def test_a_training_that_waits_is_cancelled_at_once(workspace: Workspace) -> None:
    """No process has begun it, so none has to end; its worker, should one come, is sent away."""
    run.enter(workspace.settings, TrainingRequest(model_id="m"), "queued")

    assert ("error", "cancelled") == (workspace.cancel("m").status, workspace.status("m").message)
    with pytest.raises(NotTraining, match="its latest training is error"):
        workspace.cancel("m")


def test_a_step_of_a_cancelled_training_does_not_begin(trained: Workspace) -> None:
    """The step looks up before it works, so what comes after a cancellation is never done."""
    with run.working_on(trained.settings, TrainingRequest(model_id="board")) as running:
        run.cancel(trained.settings, "board")

        with pytest.raises(TrainingFailed, match="cancelled"):
            steps.select_data(running)
