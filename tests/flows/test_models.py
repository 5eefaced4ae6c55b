"""The flows that make versions of models: training, refresh and erasure, each with its own way to end."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from lucid.demo.receiver import Receiver
from lucid.erasure import requests
from lucid.errors import LucidError, TrainingFailed
from lucid.flows.erase_entity import erase_entity
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.flows.train_model import train_model
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import run, steps
from lucid.versions.files import CONFIG
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.flows.conftest import task_states
from tests.support.checkerboard import NOTHING_LEFT, train_checkerboard

SECRET = "a secret for callbacks"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model `board`, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    return train_checkerboard(Workspace(folder / "home"), folder).settings.home


@pytest.fixture
def home(trained: Path, settings: Settings) -> Path:
    shutil.copytree(trained, settings.home)
    return settings.home


def artifacts(state: State[Any]) -> dict[str | None, Any]:
    """What a flow run left on its page, by key."""
    run_id = state.state_details.flow_run_id
    assert run_id

    async def ask() -> dict[str | None, Any]:
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
            )
            return {one.key: one.data for one in found}

    return asyncio.run(ask())


def tasks_of(todo: tuple[steps.Step[Any], ...], model_id: str, version: int) -> dict[str, str]:
    return {f"{step.name.replace('_', ' ')}: {model_id} version {version}": "Completed" for step in todo}


def test_a_training_shows_its_steps_its_progress_and_its_report(
    home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of the list is a task in that order; the customer is told, and the status names the flow run."""
    monkeypatch.setenv("LUCID_CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("LUCID_CALLBACK_ALLOW_PRIVATE", "true")
    with Receiver(SECRET).running() as receiver:
        state = train_model("board", callback_url=receiver.url, return_state=True)
        event = receiver.events.get(timeout=30)

    assert state.is_completed()
    assert 2 == ModelVersions(home, "board").live().number
    assert ("training.completed", "board", 2) == tuple(event[name] for name in ("event", "model_id", "version"))
    made = "asset: lucid://models/board/versions/2"
    others = dict.fromkeys((made, f"{made}/recommendations", "call back: board version 2"), "Completed")
    expected = {**tasks_of(steps.TRAINING, "board", 2), **others}
    assert expected == task_states(state, expected)
    left = artifacts(state)
    assert 100 == float(left["progress-board"])
    assert "| user → item |" in left["report-board"]
    assert str(state.state_details.flow_run_id) == Catalog(home).trainings.get("board", 2).flow_run_id


def test_a_training_that_fails_says_why_and_the_old_version_answers(home: Path) -> None:
    """The step that failed is shown as failed, the flow ends with its error, the steps after it have not begun."""
    state = train_model("board", data_filters=DataFilters.model_validate(NOTHING_LEFT), return_state=True)

    with pytest.raises(TrainingFailed, match="no interactions are left"):
        state.result()
    assert {"select data: board version 2": "Failed"} == task_states(state)
    assert "error" == Catalog(home).trainings.get("board", 2).status.status
    assert 1 == ModelVersions(home, "board").live().number


def test_a_refresh_of_all_models_leaves_none_out_for_another(home: Path, settings: Settings) -> None:
    """A damaged model fails the flow by its name, one in training is skipped, and the others are refreshed."""
    catalog = Catalog(home)
    for model_id in ("a-damaged-one", "z"):
        steps.train(settings, TrainingRequest(model_id=model_id))
    (Version(home, "a-damaged-one", 1).folder / CONFIG).write_text("{")
    run.enter(settings, TrainingRequest(model_id="new"))

    with run.alone_with(settings, "board"):
        state = refresh_recommendations(return_state=True)

    with pytest.raises(LucidError, match=r"^a-damaged-one: .*damaged") as failed:
        state.result()
    assert "board" not in failed.value.message
    expected = tasks_of(steps.REFRESH, "z", 2)
    shown = task_states(state, expected)
    assert expected.items() <= shown.items()
    assert {"a-damaged-one": "Failed", "board": "Skipped", "new": "Skipped", "z": "Completed"} == {
        name.removeprefix("refresh "): state for name, state in shown.items() if name.startswith("refresh ")
    }
    assert [1, 2] == [ModelVersions(home, model_id).live().number for model_id in ("board", "z")]
    assert "error" == catalog.trainings.get("a-damaged-one", 2).status.status


def test_a_refresh_of_one_model_fails_where_it_cannot_be_done(home: Path, settings: Settings) -> None:
    """What was asked for by its name is not skipped in silence; later it is refreshed."""
    with run.alone_with(settings, "board"), pytest.raises(LucidError, match="another process works on model 'board'"):
        refresh_recommendations("board")
    with pytest.raises(LucidError, match="nobody"):
        refresh_recommendations("nobody")

    assert ["board"] == refresh_recommendations("board")


def test_an_erasure_counts_what_went_and_leaves_its_counts(home: Path, settings: Settings) -> None:
    """Batches and every model are tasks of their own; the request is done and cannot be done again."""
    request = requests.enter(settings, ["u03"])

    state = erase_entity(request, return_state=True)

    counts = state.result()
    assert (1, 9, 1) == (counts["entities"], counts["interactions"], counts["vectors"])
    expected = dict.fromkeys(("erase from batches", "erase from board"), "Completed")
    assert expected == task_states(state, expected)
    taken = requests.take_result(settings, request)
    assert taken
    assert counts == taken.model_dump()
    assert 2 == ModelVersions(home, "board").live().number
    with pytest.raises(FileNotFoundError):
        requests.ids_of(settings, request)
