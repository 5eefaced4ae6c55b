"""One table of deployments: prefect.yaml says the same, and the server keeps what was registered."""

import asyncio
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runner import Runner
from prefect.settings import Settings as PrefectSettings
from prefect.states import Pending, Running, Scheduled

from lucid.flows.automations import DEAD_RUNS, HEARTBEAT_SECONDS, install
from lucid.flows.deployments import DEPLOYMENTS, RUNS_AT_ONCE, VERSION, Deployment, register
from lucid.flows.lost_runs import end_lost_runs, skip_missed_runs
from lucid.schema.fields import utc_now
from lucid.service.prefect_api import OUR_DEPLOYMENTS
from lucid.service.run import environment
from lucid.settings import Settings

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "lucid",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
}
"""What `lucid up` has in its environment, so that runs show what our loggers say."""


def in_yaml(ours: Deployment) -> dict[str, Any]:
    """A deployment of the table as prefect.yaml has to say it."""
    module = ours.flow.fn.__module__
    return {
        "name": ours.name,
        "entrypoint": f"{module.removeprefix('lucid.').replace('.', '/')}.py:{ours.flow.fn.__name__}",
        "description": ours.description,
        "tags": list(ours.tags),
        "version": VERSION,
        "concurrency_limit": {
            "limit": ours.limit,
            "collision_strategy": ours.concurrency.collision_strategy.value,
        },
        "build": [{"lucid.flows.deploying.keep_changes": {"name": ours.name}}],
        "schedules": [],  # prefect deploy would set back to them what people have made
        "work_pool": {"name": "lucid", "job_variables": {"env": ENVIRONMENT}},
    }


def test_work_pools_get_the_deployments_that_are_served(settings: Settings) -> None:
    """prefect.yaml equals the table in every field, and both carry the version of this release."""
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    assert [in_yaml(ours) for ours in DEPLOYMENTS] == written
    assert [ours.full_name for ours in DEPLOYMENTS] == [*OUR_DEPLOYMENTS]
    heartbeats = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"  # `lucid up` gives it to the runs alone
    assert {*ENVIRONMENT.items()} - {*environment(settings).items()} == {(heartbeats, ENVIRONMENT[heartbeats])}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_no_deployment_can_take_all_places() -> None:
    """Whatever waits or works elsewhere, each has as many places as its limit allows."""
    for ours in DEPLOYMENTS:
        others = sum(other.limit for other in DEPLOYMENTS if other is not ours)

        assert ours.limit == RUNS_AT_ONCE - others


async def _register() -> dict[tuple[str, str], Any]:
    """Register all deployments; returns what the server says of each, by deployment and field."""
    async with get_client() as client:
        await register(Runner(limit=RUNS_AT_ONCE), client)
        return {
            (ours.name, name): value for ours in DEPLOYMENTS for name, value in (await fields(client, ours)).items()
        }


async def fields(client: PrefectClient, ours: Deployment) -> dict[str, Any]:
    """What the server says of a deployment but ids, times and what counts its runs."""
    found = (await client.read_deployment_by_name(ours.full_name)).model_dump(mode="json")
    kept = "name version description paused tags parameters pull_steps path entrypoint job_variables work_pool_name"
    limit = found["global_concurrency_limit"]
    return {
        **{name: found[name] or None for name in [*kept.split(), "concurrency_options", "enforce_parameter_schema"]},
        "limit": limit and (limit["limit"], limit["active"]),
        "schedules": [(one["schedule"], one["active"], one["parameters"]) for one in found["schedules"]],
    }


CHANGES: dict[str, dict[str, Any]] = {
    "steps": {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "true"}}]},
    "code": {"entrypoint": "evil.py:import_data", "path": "/tmp"},
    "parameters": {"parameters": {"on_error": "abort"}},
    "version": {"version": "9"},
    "what waits": {"concurrency_options": {"collision_strategy": "CANCEL_NEW"}},
    "no limit": {"concurrency_limit": None},
    "no check": {"enforce_parameter_schema": False},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_strangers_make_of_a_deployment_is_put_right(change: str) -> None:
    """Registering again gives every field back, whichever was changed."""
    before = asyncio.run(_register())

    async def tamper() -> None:
        async with get_client() as client:
            for ours in DEPLOYMENTS:
                known = await client.read_deployment_by_name(ours.full_name)
                (await client._client.patch(f"/deployments/{known.id}", json=CHANGES[change])).raise_for_status()

    asyncio.run(tamper())

    assert before == asyncio.run(_register())


def test_a_limit_that_limits_nothing_is_put_right() -> None:
    """It limits again, at the number that it had, so that no deployment takes the places of the others."""
    before = asyncio.run(_register())

    async def tamper() -> None:
        async with get_client() as client:
            for ours in DEPLOYMENTS:
                limit = (await client.read_deployment_by_name(ours.full_name)).global_concurrency_limit
                assert limit
                await client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active=False))

    asyncio.run(tamper())

    assert before == asyncio.run(_register())


def test_runs_of_a_process_that_is_gone_hold_no_place() -> None:
    """The next process that serves them frees their places at once; what can be done again waits for its turn.

    No progress of what has ended stays under way.
    """
    asyncio.run(_register())
    by_name = {ours.name: ours for ours in DEPLOYMENTS}

    async def lose(client: PrefectClient, name: str, *, begun: bool) -> FlowRun:
        known = await client.read_deployment_by_name(by_name[name].full_name)
        run = await client.create_flow_run_from_deployment(known.id, parameters={"files": ["x"], "request": "x"})
        await client.set_flow_run_state(run.id, Pending())
        if begun:
            await client.set_flow_run_state(run.id, Running())
        return run

    async def lost_and_ended() -> tuple[list[StateType | None], list[int]]:
        async with get_client() as client:
            runs = [
                await lose(client, "import-data", begun=False),
                await lose(client, "import-data", begun=True),
                await lose(client, "erase-entity", begun=True),
                await lose(client, "refresh-recommendations", begun=True),
            ]
            assert [2, 1, 1] == await slots(client)
            bar = ArtifactCreate(key="progress-lost", type="progress", data=40.0, flow_run_id=runs[1].id)
            await client.create_artifact(bar)
            await end_lost_runs(client)
            of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[runs[1].id]))
            (shown,) = await client.read_artifacts(artifact_filter=of_run)
            assert "crashed: the process of this run ended before it was done" == shown.description
            return [(await client.read_flow_run(run.id)).state_type for run in runs], await slots(client)

    async def slots(client: PrefectClient) -> list[int]:
        names = "import-data", "erase-entity", "refresh-recommendations"
        known = [await client.read_deployment_by_name(by_name[name].full_name) for name in names]
        return [one.global_concurrency_limit.active_slots for one in known if one.global_concurrency_limit]

    states, held = asyncio.run(lost_and_ended())

    assert [StateType.SCHEDULED, StateType.CRASHED, StateType.SCHEDULED, StateType.SCHEDULED] == states
    assert [0, 0, 0] == held


def test_of_the_runs_that_a_schedule_missed_one_is_done() -> None:
    """The latest of each schedule; runs that people or the API asked for all stay, and so does what is not due yet."""
    asyncio.run(_register())
    now = utc_now()

    async def miss(client: PrefectClient, model_id: str, minutes: int, *, scheduled: bool = True) -> FlowRun:
        known = await client.read_deployment_by_name("refresh_recommendations/refresh-recommendations")
        return await client.create_flow_run_from_deployment(
            known.id,
            parameters={"model_id": model_id},
            tags=["auto-scheduled"] if scheduled else [],
            state=Scheduled(scheduled_time=now - timedelta(minutes=minutes)),
        )

    async def missed() -> list[StateType | None]:
        async with get_client() as client:
            runs = [await miss(client, "a", minutes) for minutes in (30, 20, 10, -60)]
            runs += [await miss(client, "b", 20), await miss(client, "c", 30, scheduled=False)]
            await skip_missed_runs(client)
            await skip_missed_runs(client)
            return [(await client.read_flow_run(run.id)).state_type for run in runs]

    skipped, waits = StateType.CANCELLED, StateType.SCHEDULED
    assert [skipped, skipped, waits, waits, waits, waits] == asyncio.run(missed())


def test_prefect_ends_runs_that_show_no_sign_of_life() -> None:
    """Its automation is made once, and stays as people have made it."""

    async def install_again() -> tuple[int, bool]:
        async with get_client() as client:
            await install(client)
            (made,) = await client.read_automations_by_name(DEAD_RUNS.name)
            await client.pause_automation(made.id)
            await install(client)
            found = await client.read_automations_by_name(DEAD_RUNS.name)
            return len(found), found[0].enabled

    assert (1, False) == asyncio.run(install_again())


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_the_api_schedules_again_holds_no_place(begun: bool) -> None:
    """One that a process took and never began, as the API tells Prefect of it."""
    asyncio.run(_register())
    (ours,) = (one for one in DEPLOYMENTS if one.name == "erase-entity")

    async def schedule_again() -> tuple[StateType | None, int]:
        async with get_client() as client:
            known = await client.read_deployment_by_name(ours.full_name)
            run = await client.create_flow_run_from_deployment(known.id, parameters={"request": "x"})
            await client.set_flow_run_state(run.id, Pending())
            if begun:
                await client.set_flow_run_state(run.id, Running())
            again = {"state": {"type": "SCHEDULED"}}
            (await client._client.post(f"/flow_runs/{run.id}/set_state", json=again)).raise_for_status()
            limit = (await client.read_deployment_by_name(ours.full_name)).global_concurrency_limit
            assert limit
            return (await client.read_flow_run(run.id)).state_type, limit.active_slots

    assert (StateType.SCHEDULED, 0) == asyncio.run(schedule_again())


def test_prefect_forgets_runs_after_the_days_that_the_settings_say(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own server reads the same from its environment."""
    ours = settings.model_copy(update={"keep_runs_days": 3})
    for name, value in environment(ours).items():
        monkeypatch.setenv(name, value)

    server = PrefectSettings().server

    assert {"events", "flow_runs"} <= server.services.db_vacuum.enabled_vacuum_types
    assert (timedelta(days=3), timedelta(days=3)) == (
        server.services.db_vacuum.retention_period,
        server.events.retention_period,
    )
