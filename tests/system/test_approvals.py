"""Versions that are held wait in Prefect's UI for a person, in a suspended run that survives everything."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.client import Client
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Service, serving, wait_until

FEW = {"interactions": [{"field": "source_id", "op": "lt", "value": "u10"}]}
"""A third of the users, so that all others lose their answers."""
PATIENCE = 120


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    """A service with a model."""
    folder = tmp_path_factory.mktemp("approvals")
    train_checkerboard(Workspace(folder / "home"), folder)
    with serving(folder / "home", prefect_database) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.python_client() as client:
        yield client


def held(client: Client) -> int:
    """Train on far less data than before; the number of the version, which is held."""
    status = client.train("board", data_filters=FEW)
    assert status.held, status
    return status.version


def live(client: Client) -> int | None:
    return client.model("board").live_version


def state(client: Client, version: int) -> str:
    return next(one.state for one in client.model("board").versions if one.version == version)


def approval(service: Service, version: int) -> dict[str, Any]:
    """The run that waits for a decision of a version."""

    def found() -> Any:
        asked = {"flows": {"name": {"any_": ["approve_version"]}}}
        runs = service.prefect("/flow_runs/filter", asked)
        return next((run for run in runs if run["parameters"]["version"] == version), None)

    run: dict[str, Any] = wait_until(found, PATIENCE, f"the run for version {version}")
    return run


def suspended(service: Service, version: int) -> str:
    """The id of the run of a version, once it waits without a process."""

    def waits() -> bool:
        return bool(approval(service, version)["state_name"] == "Suspended")

    wait_until(waits, PATIENCE, f"version {version} to be asked about")
    return str(approval(service, version)["id"])


def wait_for_end(service: Service, version: int) -> str:
    """What the run of a version says once it has ended well."""

    def ended() -> bool:
        return bool(approval(service, version)["state_type"] == "COMPLETED")

    wait_until(ended, PATIENCE, f"the run of version {version} to end")
    return str(approval(service, version)["state"]["message"])


def resume(service: Service, run_id: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Press Resume, as Prefect's UI does."""
    done: dict[str, Any] = service.prefect(f"/flow_runs/{run_id}/resume", {"run_input": answer})
    return done


def test_a_person_promotes_in_prefect(service: Service, client: Client) -> None:
    """The run shows why; an answer that is none is refused; the version answers once it is resumed with `promote`."""
    before, version = live(client), held(client)
    run_id = suspended(service, version)

    with service.prefect_client() as prefect:
        keyset = prefect.get(f"/flow_runs/{run_id}").json()["state"]["state_details"]["run_input_keyset"]
        asked = httpx.Response.json(prefect.get(f"/flow_runs/{run_id}/input/{keyset['description']}"))
    assert "learned from" in asked
    assert before == live(client)
    assert "REJECT" == resume(service, run_id, {"decision": "perhaps"})["status"]
    assert "ACCEPT" == resume(service, run_id, {"decision": "promote"})["status"]
    wait_until(lambda: live(client) == version, PATIENCE, "the version to answer")
    assert f"version {version} answers" == wait_for_end(service, version)
    assert not client.status("board").held
    client.roll_back("board", before)


def test_a_person_rejects_in_prefect_with_a_reason(service: Service, client: Client) -> None:
    """The version stays where it is, the reason is shown with it."""
    before, version = live(client), held(client)

    resume(service, suspended(service, version), {"decision": "reject", "reason": "last month is missing"})
    wait_until(lambda: state(client, version) == "rejected", PATIENCE, "the version to be rejected")

    assert before == live(client)
    (reason,) = [one.reason for one in client.model("board").versions if one.version == version]
    assert reason is not None
    assert reason.startswith("last month is missing; ")


def test_what_is_decided_elsewhere_ends_the_run(service: Service, client: Client) -> None:
    """By the command, or because a newer training was finished; nobody is asked in vain."""
    version = held(client)
    suspended(service, version)
    assert "rejected" in service.command("reject", "board")
    assert "decided elsewhere" in wait_for_end(service, version)

    version = held(client)
    suspended(service, version)
    client.train("board")
    assert "decided elsewhere" in wait_for_end(service, version)
    assert "rejected" == state(client, version)


def test_a_run_that_was_ended_asks_again(service: Service, client: Client) -> None:
    """Something took it for dead, as nobody decides while it waits; the version is not forgotten."""
    version = held(client)
    run_id = suspended(service, version)
    service.prefect(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CRASHED"}, "force": True})

    wait_until(lambda: approval(service, version)["run_count"] == 2, PATIENCE, "the run to begin again")
    resume(service, suspended(service, version), {"decision": "promote"})

    wait_until(lambda: live(client) == version, PATIENCE, "the version to answer")
    client.train("board")


def test_nothing_takes_a_run_that_waits_for_dead(service: Service) -> None:
    """Its flow is none of those whose runs show signs of life until they end."""
    (automation,) = [one for one in service.prefect("/automations/filter", {}) if "no sign of life" in one["name"]]

    watched = automation["trigger"]["match_related"]["prefect.resource.name"]
    assert "train_model" in watched
    assert "approve_version" not in watched


def test_the_run_survives_the_service(service: Service, client: Client) -> None:
    """It waits on after a restart, takes no place meanwhile, and what it is told is done."""
    version = held(client)
    run_id = suspended(service, version)
    (limit,) = [
        one
        for one in service.prefect("/v2/concurrency_limits/filter", {})
        if one["name"].endswith(approval(service, version)["deployment_id"])
    ]
    assert 0 == limit["active_slots"]

    service.stop()
    service.start()
    time.sleep(12)  # the service has swept by then

    assert "Suspended" == approval(service, version)["state_name"]
    resume(service, run_id, {"decision": "promote"})
    wait_until(lambda: live(client) == version, PATIENCE, "the version to answer")


def test_a_held_version_is_an_event(service: Service, client: Client) -> None:
    """`lucid.version.held`, and no `published` before somebody promotes it."""
    client.train("board")
    version = held(client)

    def told(name: str) -> bool:
        asked = {"filter": {"event": {"name": [name]}, "any_resource": {"id": [f"lucid.version.board.{version}"]}}}
        return bool(service.prefect("/events/filter", asked)["events"])

    wait_until(lambda: told("lucid.version.held"), PATIENCE, "the event")
    assert not told("lucid.version.published")
    client.promote("board")
    wait_until(lambda: told("lucid.version.published"), PATIENCE, "the other event")
