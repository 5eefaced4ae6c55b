"""What Prefect says of a run, as operators read it: states in sentences, logs without tracebacks, forms with limits."""

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.utilities.callables import parameter_schema

from lucid.errors import LucidError
from lucid.flows.deployments import DEPLOYMENTS
from lucid.flows.import_data import import_data
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.flows.train_model import train_model
from lucid.logs import ids_of
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.flows.conftest import task_states
from tests.support.checkerboard import train_checkerboard, write_checkerboard


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model `board`, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    return train_checkerboard(Workspace(folder / "home"), folder).settings.home


@pytest.fixture
def home(trained: Path, settings: Settings) -> Path:
    shutil.copytree(trained, settings.home)
    return settings.home


def logged(state: State[Any]) -> str:
    """What stands on the page of a flow run, its tasks included, once it says how the run ended."""
    run_id = state.state_details.flow_run_id
    assert run_id

    async def ask() -> str:
        async with get_client() as client:
            found = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), limit=200)
            return "\n".join(line.message for line in found)

    deadline = time.monotonic() + 20  # logs are sent in batches
    while "Finished in state" not in (said := asyncio.run(ask())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return said


MISTAKES: dict[str, Callable[[Path], State[Any]]] = {
    "a tag that no batch has": lambda _: train_model("board", data_tags=["nobody has this"], return_state=True),
    "a filter that leaves nothing": lambda _: train_model(
        "board",
        data_filters={"interactions": [{"field": "type", "op": "eq", "value": "nothing"}]},
        return_state=True,
    ),
    "a callback to a private address": lambda _: train_model(
        "board", callback_url="http://127.0.0.1:9/", return_state=True
    ),
    "a model that is unknown": lambda _: refresh_recommendations("nobody", return_state=True),
    "a file that is not there": lambda folder: import_data([str(folder / "none.csv")], return_state=True),
    "a file that is no CSV": lambda folder: import_data([str(folder / "no.csv")], return_state=True),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(home: Path, tmp_path: Path, mistake: str) -> None:
    """It is the state's whole message, of the flow as of the task; no log has a traceback, and the error is kept."""
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")

    state = MISTAKES[mistake](tmp_path)

    with pytest.raises(LucidError) as error:
        state.result()
    assert (True, error.value.message) == (state.is_failed(), state.message)
    said = logged(state)
    assert "Finished in state" in said
    assert [] == [word for word in ("Traceback", "NoneType", "Encountered exception", 'File "') if word in said]


def test_what_is_not_expected_keeps_its_traceback(home: Path) -> None:
    """An error of ours is for its finder, who needs to know where it came from."""

    @flow(on_running=train_model.on_running_hooks)
    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    state = broken(return_state=True)

    assert state.is_failed()
    assert "Traceback" in logged(state)


def test_a_flow_called_as_a_function_leaves_the_lines_of_its_process_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls one, as in a notebook, says afterwards nothing about its run, and where they said it before."""
    monkeypatch.setenv("LUCID_LOG_FORMAT", "json")
    before, record = (sys.stdout, sys.stderr), logging.makeLogRecord({"msg": "afterwards"})

    assert train_model("board", return_state=True).is_completed()

    assert {} == ids_of(record)
    assert before == (sys.stdout, sys.stderr)


def archive(workspace: Workspace) -> None:
    workspace.update_batches([batch.batch_id for batch in workspace.batches()], archived=True)


def delete(workspace: Workspace, *, of: str = "") -> None:
    workspace.delete_batches([batch.batch_id for batch in workspace.batches() if of in batch.file_name])


GONE: dict[str, Callable[[Workspace], None]] = {
    "all batches are deleted": delete,
    "all batches are archived": archive,
    "the interactions are deleted": lambda workspace: delete(workspace, of="interactions"),
    "the entities are deleted": lambda workspace: delete(workspace, of="entities"),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("gone", GONE)
def test_a_refresh_whose_batches_are_gone_ends_well_and_says_so(
    home: Path, settings: Settings, gone: str, named: bool
) -> None:
    """The version stays, and nothing advises to check tags that nobody gave; also in this process, without flows."""
    GONE[gone](Workspace(home))

    state = refresh_recommendations("board" if named else None, return_state=True)

    assert (True, []) == (state.is_completed(), state.result())
    assert state.message
    assert state.message.startswith("board: nothing to refresh: ")
    assert state.message.endswith("version 1 stays as it is")
    assert "data_tags" not in state.message
    assert {"refresh board": "Unchanged"}.items() <= task_states(state).items()
    assert 1 == ModelVersions(home, "board").live().number
    refreshed = Catalog(home).trainings.get("board", 2).status
    assert ("completed", True) == (refreshed.status, refreshed.message.startswith("nothing to refresh"))
    assert not ModelVersions(home, "board").version(2).folder.exists()


def test_a_refresh_says_what_it_found(home: Path, tmp_path: Path) -> None:
    """Nothing new, new batches, and some that are gone."""
    workspace = Workspace(home)

    said = [refresh_recommendations(return_state=True).message]
    workspace.import_files(write_checkerboard(tmp_path))
    said.append(refresh_recommendations(return_state=True).message)
    workspace.delete_batches([workspace.batches()[-1].batch_id])
    said.append(refresh_recommendations(return_state=True).message)

    assert [
        "board: version 2 refreshes version 1; nothing was uploaded since",
        "board: version 3 refreshes version 2; 2 batches uploaded since",
        "board: version 4 refreshes version 3; 1 batch deleted or archived since",
    ] == said


def limits(schema: dict[str, Any]) -> dict[str, Any]:
    """What a form may check of a parameter, its list's elements included."""
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    (choice,) = choices
    named = {name: choice[name] for name in ("minimum", "maximum", "pattern", "enum", "maxItems") if name in choice}
    return named | ({"items": limits(choice["items"])} if "items" in choice and "$ref" not in choice["items"] else {})


def first_choice(schema: dict[str, Any]) -> dict[str, Any]:
    """What is asked for a value that may also be null."""
    choice: dict[str, Any] = schema.get("anyOf", [schema])[0]
    return choice


def test_forms_carry_the_limits_and_offer_nothing_of_the_api() -> None:
    """Age, names, tags and choices are checked before a run begins; what the API alone passes has no field."""
    forms = {one.name: parameter_schema(one.flow).model_dump()["properties"] for one in DEPLOYMENTS}

    asks_for_a_version = forms.pop("approve-version")
    assert {"model_id", "version"} == set(asks_for_a_version)
    assert not {"version", "batch_ids"} & {name for form in forms.values() for name in form}
    names = {"pattern": "^[A-Za-z0-9._:-]{1,128}$"}
    train = {name: limits(schema) for name, schema in forms["train-model"].items() if first_choice(schema).get("type")}
    assert {
        "model_id": names,
        "maximum_interaction_age_days": {"minimum": 1, "maximum": 100_000},
        "data_tags": {"items": {}},
        "callback_url": {"pattern": "^(https?://.+)?$"},
        "precompute": {"maxItems": 1000},
        "metadata_rules": {},
        "interaction_rules": {},
        "allow_type_changes": {},
        "max_minutes": {"maximum": 10_080},
    } == train
    assert names == limits(forms["refresh-recommendations"]["model_id"])
    assert {"maxItems": 50, "items": {"pattern": "^[^,]*$"}} == limits(forms["import-data"]["tags"])
    assert {"enum": ["set_aside", "abort"]} == limits(forms["import-data"]["on_error"])
