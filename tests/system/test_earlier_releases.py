"""Today's service on homes that earlier releases have written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.releases import RELEASES, answers_of, expect_same, unpack
from tests.support.service import Service, wait_for_training, wait_until


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def service(release: str, tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    running = Service(unpack(release, tmp_path_factory.mktemp(release)), prefect_database)
    running.key = running.command("keys", "create").split()[0]
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client(service.key) as client:
        yield client


def ask(client: httpx.Client, query: dict[str, Any]) -> list[dict[str, Any]]:
    asked = client.post("/recommended_items", json={"model_id": "videos", **query}).raise_for_status()
    rows: list[dict[str, Any]] = asked.json()["recommendations"]
    return rows


def test_a_service_goes_on_where_an_earlier_release_ended(service: Service, client: httpx.Client, release: str) -> None:
    """It answers the same; then it refreshes, trains and erases, each of which makes a version.

    So does what a schedule of the home has missed, soon after the start.
    """
    expected = answers_of(release)
    expect_same(expected, [ask(client, answer["query"]) for answer in expected])
    assert {"completed"} == {batch["status"] for batch in client.get("/data_batch").json()}
    before = client.get("/models/videos").json()["live_version"]

    refresh(service)
    refreshed = client.get("/models/videos").json()["live_version"]
    assert before < refreshed
    wait_for_training(client, "videos")
    client.post("/train", json={"model_id": "videos"}).raise_for_status()
    trained = wait_for_training(client, "videos")
    assert "completed" == trained["status"]
    assert refreshed < trained["version"]
    (gone, *_) = expected[0]["query"]["source_id"]
    erased = client.delete("/entities", params={"id": gone}).raise_for_status().json()

    assert erased["entities"] >= 1
    assert (
        404
        == client.post(
            "/recommended_items", json={"model_id": "videos", **expected[0]["query"], "source_id": gone}
        ).status_code
    )
    assert "damaged" not in service.command("check")


def test_schedules_of_an_earlier_release_stay(service: Service, release: str) -> None:
    """Where its Prefect database is in the home."""
    if release != "home-2026-11-27":
        assert "30 2 * * 1" not in service.command("schedule", "--model-id", "videos")
        return
    said = service.command("schedule", "--model-id", "videos")

    assert "30 2 * * 1 Europe/Berlin" in said
    assert "0 */6 * * * UTC" in said


def refresh(service: Service) -> None:
    """Let the service refresh the model, and wait until that is done."""
    name = "/deployments/name/refresh_recommendations/refresh-recommendations"
    with service.prefect_client() as prefect:
        deployment = prefect.get(name).raise_for_status().json()["id"]
        asked = {"parameters": {"model_id": "videos"}, "state": {"type": "SCHEDULED"}}
        run = prefect.post(f"/deployments/{deployment}/create_flow_run", json=asked).raise_for_status().json()["id"]
        state = wait_until(lambda: _ended(prefect, run), 120, "the refresh")
    assert "COMPLETED" == state["type"], state


def _ended(prefect: httpx.Client, run: str) -> dict[str, Any] | None:
    state: dict[str, Any] = prefect.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
    return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None
