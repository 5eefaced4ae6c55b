"""Events through the whole service: sent, counted in answers, compacted by the flow, and counted as before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lucid.service.prefect_api import COMPACT_EVENTS
from tests.support.checkerboard import ITEMS, write_checkerboard
from tests.support.service import Service, serving, wait_for_training, wait_until


@pytest.fixture
def service(tmp_path: Path, prefect_database: Path) -> Iterator[Service]:
    with serving(tmp_path / "home", prefect_database) as service:
        yield service


def test_events_become_batches_and_answers_stay(service: Service, tmp_path: Path) -> None:
    """The flow is scheduled each hour; what it compacts leaves the log, and changes no answer."""
    with service.client(service.key) as client:
        files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(tmp_path)]
        client.post("/data_batch", files=files).raise_for_status()
        client.post("/train", json={"model_id": "board"}).raise_for_status()
        assert "completed" == wait_for_training(client, "board")["status"]
        asked: dict[str, str | int] = {
            "model_id": "board",
            "source_id": "u00",
            "target_type": "item",
            "max_recommendations": ITEMS,
        }

        def rows() -> list[dict[str, object]]:
            found: list[dict[str, object]] = client.get("/recommended_items", params=asked).json()["recommendations"]
            return found

        first = rows()[0]["target_id"]
        event = {"type": "likes", "source_id": "u00", "target_id": first, "event_id": "1"}
        assert 1 == client.post("/events", json=event).json()["accepted"]
        wait_until(lambda: first not in {row["target_id"] for row in rows()}, 10, "the event to count")
        before = rows()

        deployment = service.prefect("/deployments/filter", {"deployments": {"name": {"any_": ["compact-events"]}}})[0]
        assert ["5 * * * *"] == [one["schedule"]["cron"] for one in deployment["schedules"]]
        assert COMPACT_EVENTS.endswith(deployment["name"])
        service.prefect(f"/deployments/{deployment['id']}/create_flow_run", {})
        wait_until(lambda: [] == client.get("/events").json(), 60, "the event to be in a batch")
        batches = client.get("/data_batch", params={"tags": "events"}).json()

        assert [1] == [batch["interaction_count"] for batch in batches]
        assert before == rows()
        assert 1 == client.post("/events", json=event).json()["duplicates"]
