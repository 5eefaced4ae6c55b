"""Settings that a restart forgets: what people changed of a deployment stays, and what is ours follows the settings."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.runner import Runner

from lucid.flows.defaults import VARIABLE
from lucid.flows.deployments import DEPLOYMENTS, RUNS_AT_ONCE, Deployment, places, register
from lucid.settings import Settings

REFRESH = "refresh-recommendations"
DAILY = {"compact-events": "5 * * * *", REFRESH: "0 3 * * *", "maintain-home": "0 4 * * *"}
BY_NAME = {ours.name: ours for ours in DEPLOYMENTS}
CRON = {"cron": "30 5 * * 1-5", "timezone": "Europe/Berlin"}
"""A schedule as the Prefect UI writes one."""


@pytest.fixture(autouse=True)
def fresh_server() -> None:
    """No deployment, and nothing remembered of any."""

    async def forget() -> None:
        async with get_client() as client:
            for known in await client.read_deployments():
                await client.delete_deployment(known.id)
            await _forget(client)

    asyncio.run(forget())


async def _forget(client: PrefectClient) -> None:
    if await client.read_variable_by_name(VARIABLE):
        await client.delete_variable_by_name(VARIABLE)


def start(settings: Settings, **changes: Any) -> dict[str, dict[str, Any]]:
    """What a start of the service does to the deployments; returns what people may have changed of each."""
    settings = settings.model_copy(update=changes)

    async def registered() -> dict[str, dict[str, Any]]:
        async with get_client() as client:
            await register(Runner(limit=await places(client, settings)), client, settings)
            return {ours.name: shown(await read(client, ours)) for ours in DEPLOYMENTS}

    return asyncio.run(registered())


async def read(client: PrefectClient, ours: Deployment) -> DeploymentResponse:
    return await client.read_deployment_by_name(ours.full_name)


def shown(known: DeploymentResponse) -> dict[str, Any]:
    limit = known.global_concurrency_limit
    return {
        "paused": known.paused,
        "limit": limit and limit.limit,
        "tags": sorted(known.tags),
        "description": known.description,
        "schedules": [one.model_dump(mode="json", exclude={"created", "updated"}) for one in known.schedules],
    }


def times(deployment: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Of every schedule: cron expression, time zone, whether it is on."""
    return [(one["schedule"]["cron"], one["schedule"]["timezone"], one["active"]) for one in deployment["schedules"]]


Change = Callable[[PrefectClient, DeploymentResponse], Any]


def ask(method: str, path: str, body: Any = None) -> Change:
    """A request of the UI, or of a script, about a deployment; `{schedule}` is its first schedule."""

    async def change(client: PrefectClient, known: DeploymentResponse) -> None:
        schedule = known.schedules[0].id if known.schedules else None
        url = f"/deployments/{known.id}" + path.format(schedule=schedule)
        (await client._client.request(method, url, json=body)).raise_for_status()

    return change


def change(name: str, *changes: Change) -> dict[str, Any]:
    """Change a deployment; returns what it is like then."""

    async def changed() -> dict[str, Any]:
        async with get_client() as client:
            for one in changes:
                await one(client, await read(client, BY_NAME[name]))
            return shown(await read(client, BY_NAME[name]))

    return asyncio.run(changed())


ADDED = {"schedule": CRON, "active": True, "parameters": {"model_id": "videos", "data_tags": ["2026"]}}
CHANGES: dict[str, tuple[str, Change]] = {
    "the refresh is moved": (REFRESH, ask("PATCH", "/schedules/{schedule}", {"schedule": CRON})),
    "the refresh is moved by writing all schedules": (REFRESH, ask("PATCH", "", {"schedules": [{"schedule": CRON}]})),
    "the refresh is switched off": (REFRESH, ask("PATCH", "/schedules/{schedule}", {"active": False})),
    "the refresh is deleted": (REFRESH, ask("DELETE", "/schedules/{schedule}")),
    "the refresh is for one model": (
        REFRESH,
        ask("PATCH", "/schedules/{schedule}", {"parameters": {"model_id": "videos"}}),
    ),
    "the refresh has another time zone": (
        REFRESH,
        ask("PATCH", "/schedules/{schedule}", {"schedule": {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"}}),
    ),
    "a second refresh": (REFRESH, ask("POST", "/schedules", [{"schedule": {"interval": 3600.0}, "active": True}])),
    "a deployment is paused": (REFRESH, ask("POST", "/pause_deployment")),
    "another is paused": ("import-data", ask("POST", "/pause_deployment")),
    "a model is trained again by itself": ("train-model", ask("POST", "/schedules", [ADDED])),
    "a schedule with a slug and an end": (
        "train-model",
        ask("POST", "/schedules", [{**ADDED, "slug": "videos", "max_scheduled_runs": 3}]),
    ),
    "a schedule by a rule": ("train-model", ask("POST", "/schedules", [{"schedule": {"rrule": "FREQ=WEEKLY"}}])),
    "files are imported by themselves": (
        "import-data",
        ask("POST", "/schedules", [{"schedule": CRON, "parameters": {"files": ["/data/today.csv"]}}]),
    ),
    "fewer trainings at once": ("train-model", ask("PATCH", "", {"concurrency_limit": 1})),
    "more imports at once": ("import-data", ask("PATCH", "", {"concurrency_limit": 9})),
    "tags": ("train-model", ask("PATCH", "", {"tags": ["lucid", "team-a"]})),
    "no tags": ("train-model", ask("PATCH", "", {"tags": []})),
    "a description": ("train-model", ask("PATCH", "", {"description": "Ask Ann before you start it."})),
    "no description": ("train-model", ask("PATCH", "", {"description": ""})),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_people_changed_stays_through_restarts(case: str, settings: Settings) -> None:
    """Field by field, ids of schedules included, and nothing of another deployment changes."""
    name, one = CHANGES[case]
    start(settings)
    changed = change(name, one)

    assert changed == start(settings)[name]


def defaults_of_the_table() -> dict[str, dict[str, Any]]:
    """The defaults, from the table and the settings, without ids."""
    return {
        ours.name: {
            "paused": False,
            "limit": ours.limit,
            "tags": sorted(ours.tags),
            "description": ours.description,
            "schedules": [(DAILY[ours.name], "UTC", True)] if ours.name in DAILY else [],
        }
        for ours in DEPLOYMENTS
    }


def test_a_fresh_server_gets_the_defaults(settings: Settings) -> None:
    """The refresh and the maintenance at the times of the settings, and nothing else by itself."""
    found = start(settings)

    assert defaults_of_the_table() == {name: {**one, "schedules": times(one)} for name, one in found.items()}
    assert [("15 22 * * *", "Asia/Tokyo", True)] == times(
        start(settings, refresh_time="22:15", refresh_timezone="Asia/Tokyo")[REFRESH]
    )


def test_all_changes_together_stay(settings: Settings) -> None:
    """Of one deployment, and while the settings change too."""
    start(settings)
    changes = [CHANGES[case][1] for case in ("the refresh is moved", "a second refresh", "tags", "a description")]
    changed = change(REFRESH, *changes, ask("PATCH", "", {"concurrency_limit": 3}), ask("POST", "/pause_deployment"))

    for refresh_time in ("03:00", "04:00", "off", "05:00"):
        assert changed == start(settings, refresh_time=refresh_time)[REFRESH]


def test_the_refresh_that_nobody_changed_follows_the_settings(settings: Settings) -> None:
    """It moves with its id, is off where the settings say so, and comes back."""
    (before,) = start(settings)[REFRESH]["schedules"]
    (moved,) = start(settings, refresh_time="04:30")[REFRESH]["schedules"]

    assert ("30 4 * * *", before["id"]) == (moved["schedule"]["cron"], moved["id"])
    assert [] == start(settings, refresh_time="off")[REFRESH]["schedules"]
    assert [] == start(settings, refresh_time="off")[REFRESH]["schedules"]
    assert [("0 3 * * *", "UTC", True)] == times(start(settings)[REFRESH])


def test_a_refresh_that_is_off_from_the_start_has_no_schedule(settings: Settings) -> None:
    """And a schedule that people add then is the only one."""
    assert [] == start(settings, refresh_time="off")[REFRESH]["schedules"]

    changed = change(REFRESH, CHANGES["a second refresh"][1])

    assert changed == start(settings, refresh_time="off")[REFRESH]


@pytest.mark.parametrize("case", ["the refresh is moved", "the refresh is deleted", "a deployment is paused"])
def test_what_people_changed_stays_where_nothing_is_remembered(case: str, settings: Settings) -> None:
    """As on a server of the release that remembered nothing; what is as that made it follows the settings."""
    start(settings)
    changed = change(REFRESH, CHANGES[case][1])

    async def forget() -> None:
        async with get_client() as client:
            await _forget(client)

    asyncio.run(forget())
    assert changed == start(settings)[REFRESH]
    asyncio.run(forget())
    assert "paused" in case or changed == start(settings, refresh_time="04:00")[REFRESH]


@pytest.mark.parametrize("value", ["text", 7, {"refresh-recommendations": {"limit": "many"}}, [1]])
def test_a_variable_that_others_have_written_stops_no_start(value: Any, settings: Settings) -> None:
    """It counts as nothing remembered."""
    start(settings)
    changed = change(REFRESH, CHANGES["the refresh is moved"][1])

    async def write() -> None:
        async with get_client() as client:
            answer = await client._client.patch(f"/variables/name/{VARIABLE}", json={"value": value})
            answer.raise_for_status()

    asyncio.run(write())

    assert changed == start(settings)[REFRESH]


def test_there_is_a_place_for_each_run_that_the_limits_allow(settings: Settings) -> None:
    """Also where people have raised or lowered them, so that none takes the places of another."""

    async def count() -> int:
        async with get_client() as client:
            return await places(client, settings)

    assert RUNS_AT_ONCE == asyncio.run(count())
    start(settings)
    change("import-data", CHANGES["more imports at once"][1])
    change("train-model", CHANGES["fewer trainings at once"][1])

    assert RUNS_AT_ONCE + 5 - 1 == asyncio.run(count())


def test_what_is_not_people_s_to_change_is_put_right_beside_what_is(settings: Settings) -> None:
    """Code, folder and steps are ours again, and the schedules, the pause and the deployment's id stay."""
    start(settings)
    evil = {
        "entrypoint": "evil.py:refresh",
        "path": "/tmp",
        "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "true"}}],
        "parameters": {"model_id": "x"},
        "job_variables": {"env": {"X": "1"}},
    }
    changes = [CHANGES[case][1] for case in ("the refresh is moved", "a second refresh", "a deployment is paused")]
    changed = change(REFRESH, *changes, ask("PATCH", "", evil))

    assert changed == start(settings)[REFRESH]

    async def code() -> dict[str, Any]:
        async with get_client() as client:
            known = await read(client, BY_NAME[REFRESH])
            return {name: getattr(known, name) or None for name in evil}

    entrypoint = "lucid.flows.refresh_recommendations.refresh_recommendations"
    assert {**dict.fromkeys(evil), "entrypoint": entrypoint} == asyncio.run(code())
