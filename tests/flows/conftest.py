"""One Prefect server of its own for all tests of flows, and a home that the flows find in their environment."""

import asyncio
import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.testing.utilities import prefect_test_harness

from lucid.settings import Settings

_PATIENCE_SECONDS = 20


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    """A server with an empty database, which flows and clients of this process talk to."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def flows_use_this_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows load their settings themselves, as they do in a process of their own."""
    monkeypatch.setenv("LUCID_HOME", str(settings.home))


def task_states(state: State[Any], expected: Collection[str] = ()) -> dict[str, str | None]:
    """Names and states of the tasks of a flow run that has ended, once Prefect knows those and how all ended."""
    run_id = state.state_details.flow_run_id
    assert run_id
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))

    async def ask() -> dict[str, str | None]:
        async with get_client() as client:
            return {run.name: run.state_name for run in await client.read_task_runs(flow_run_filter=this_run)}

    deadline = time.monotonic() + _PATIENCE_SECONDS  # tasks are told to the server as events, which take a while
    while (
        {"Running", "Pending"} & {*(found := asyncio.run(ask())).values()} or not found or not {*expected} <= {*found}
    ):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found
