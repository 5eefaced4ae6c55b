"""Refreshes that the API is asked for: they have a status of their own, survive their process, can be cancelled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.client import Client
from lucid.errors import AlreadyTraining, UnknownModel, UnknownVersion
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Service, serving, wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    """A service with a trained model `board`."""
    folder = tmp_path_factory.mktemp("refreshes")
    train_checkerboard(Workspace(folder / "home"), folder)
    with serving(folder / "home", prefect_database) as service:
        yield service


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with service.client(service.key) as http:
        yield http


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.python_client() as client:
        yield client


def refresh_status(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/models/board/refresh").raise_for_status().json()
    return found


def has_ended(http: httpx.Client) -> bool:
    return bool(refresh_status(http)["status"] != "running")


def best(http: httpx.Client) -> str:
    asked = {"model_id": "board", "source_id": "u05", "target_type": "item"}
    rows = http.get("/recommended_items", params=asked).raise_for_status().json()["recommendations"]
    return str(rows[0]["target_id"])


def test_a_refresh_takes_in_what_was_uploaded_since(http: httpx.Client, client: Client) -> None:
    """Its status is its own: that of the training stays as it ended."""
    with pytest.raises(UnknownVersion, match="never refreshed"):
        client.refresh_status("board")
    training, seen = http.get("/status", params={"model_id": "board"}).json(), best(http)
    new = f"type,source_id,target_id,timestamp,metadata\nlikes,u05,{seen},2026-05-01T00:00:00Z,\n"
    http.post("/data_batch", files=[("files", ("new.csv", new))]).raise_for_status()

    asked = http.post("/models/board/refresh")
    status = client.refresh_status("board")
    wait_until(lambda: has_ended(http), 60, "the refresh")

    assert (202, 2) == (asked.status_code, asked.json()["version"])
    assert status.version == 2
    ended = refresh_status(http)
    assert ("completed", "finished", 100) == (ended["status"], ended["stage"], ended["progress"])
    assert "/runs/flow-run/" in ended["flow_run_url"]
    model = http.get("/models/board").json()
    assert (training, ended, 2) == (model["training"], model["refresh"], model["live_version"])
    assert training == http.get("/status", params={"model_id": "board"}).json()
    assert seen != best(http)


def test_the_client_waits_for_a_refresh(client: Client) -> None:
    """It tells the progress and returns the final status; what cannot be refreshed is refused."""
    told: list[float] = []

    status = client.refresh("board", lambda percent, _doing: told.append(percent))

    assert "completed" == status.status
    assert told
    with pytest.raises(UnknownModel):
        client.refresh("none")


def test_a_refresh_whose_process_dies_is_done_again(service: Service, http: httpx.Client) -> None:
    """By the same flow run: its version ends in error if it had begun, and another one is made."""
    http.post("/models/board/refresh").raise_for_status()

    def kill() -> bool:
        for run in service.runs():
            run.kill()
            return True
        return False

    wait_until(kill, 60, "its process")
    wait_until(lambda: refresh_status(http)["status"] == "completed", 120, "the second try")

    assert refresh_status(http)["version"] == http.get("/models/board").json()["live_version"]


def test_a_refresh_that_waits_is_cancelled(service: Service, http: httpx.Client, client: Client) -> None:
    """While another holds the only place; meanwhile the model is neither trained nor refreshed."""
    with service.prefect_client() as prefect:
        name = "/deployments/name/refresh_recommendations/refresh-recommendations"
        deployment = prefect.get(name).raise_for_status().json()["id"]
        run = {"state": {"type": "PENDING"}}
        holds = prefect.post(f"/deployments/{deployment}/create_flow_run", json=run).raise_for_status().json()["id"]
        entered = http.post("/models/board/refresh").raise_for_status().json()
        assert ("running", "queued", None) == (entered["status"], entered["stage"], entered["flow_run_url"])
        assert refresh_status(http)["message"] == "waits for its turn, the next one"
        with pytest.raises(AlreadyTraining):
            client.refresh("board")

        cancelled = client.cancel("board")

        prefect.delete(f"/flow_runs/{holds}").raise_for_status()
    assert ("error", "cancelled", entered["version"]) == (cancelled.status, cancelled.message, cancelled.version)
    assert "completed" == http.get("/status", params={"model_id": "board"}).json()["status"]


def test_the_command_refreshes(service: Service, http: httpx.Client) -> None:
    """Beside the service, in a process of its own."""
    said = service.command("refresh", "--model-id", "board")

    version = refresh_status(http)["version"]
    assert f"Model board version {version}: refreshed." in said
    wait_until(lambda: http.get("/models/board").json()["live_version"] == version, 10, "it to answer")
