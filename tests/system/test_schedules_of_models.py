"""A model's own schedules, over HTTP, by the command and in Python, against a real Prefect server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lucid.client import Client
from lucid.errors import UnknownModel, UnknownSchedule
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Service, serving, wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("schedules")
    train_checkerboard(Workspace(folder / "home"), folder)
    with serving(folder / "home", prefect_database) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.python_client() as client:
        yield client


def deployment(service: Service, name: str) -> str:
    with service.prefect_client() as prefect:
        return str(prefect.get(f"/deployments/name/{name}").raise_for_status().json()["id"])


def planned(service: Service, name: str, schedule_id: str) -> list[str]:
    """When Prefect itself will start the runs of a schedule."""
    asked = {"deployments": {"id": {"any_": [deployment(service, name)]}}, "sort": "EXPECTED_START_TIME_ASC"}
    runs = service.prefect("/flow_runs/filter", asked)
    return [run["expected_start_time"][:16] for run in runs if (run["created_by"] or {}).get("id") == schedule_id]


def test_every_way_in_schedules_the_same(service: Service, client: Client) -> None:
    """What one adds all tell, with the next runs that Prefect plans; what one deletes is gone for all."""
    made = client.schedule("board", "train", "30 2 * * *", "Europe/Berlin")
    said = service.command("schedule", "--model-id", "board", "--refresh", "--cron", "0 5 * * 1")

    told = client.schedules("board")
    assert {"train", "refresh"} == {one.work for one in told}
    assert made in told
    assert "0 5 * * 1 UTC" in said
    assert made.schedule_id in said
    runs = wait_until(lambda: planned(service, "train_model/train-model", made.schedule_id), 60, "Prefect to plan")
    assert runs[:3] == [moment.isoformat()[:16] for moment in made.next_runs]

    for one in told:
        assert one.schedule_id in service.command("schedule", "--model-id", "board")
        assert client.unschedule("board", one.schedule_id).cron == one.cron
    assert [] == client.schedules("board")
    with pytest.raises(UnknownSchedule):
        client.unschedule("board", made.schedule_id)
    with pytest.raises(UnknownModel):
        client.schedule("none", "train", "30 2 * * *")


def test_what_people_make_of_a_schedule_is_told_and_survives(service: Service, client: Client) -> None:
    """Paused and changed in Prefect, which forgets the model of it then, and after a restart of the service."""
    made = client.schedule("board", "refresh", "30 2 * * *")
    path = f"/deployments/{deployment(service, 'refresh_recommendations/refresh-recommendations')}/schedules"
    changed = {"active": False, "schedule": {"cron": "0 6 * * *", "timezone": "Asia/Tokyo"}}
    with service.prefect_client() as prefect:
        prefect.patch(f"{path}/{made.schedule_id}", json=changed).raise_for_status()

        def mended() -> bool:
            found = {one["id"]: one["parameters"] for one in prefect.get(path).json()}
            return bool(found[made.schedule_id] == {"model_id": "board"})

        wait_until(mended, 60, "its model to be given back")

    service.stop()
    service.start()

    (found,) = client.schedules("board")
    assert (made.schedule_id, "0 6 * * *", "Asia/Tokyo", False) == (
        *(found.schedule_id, found.cron, found.timezone),
        found.active,
    )
    assert "paused" in service.command("schedule", "--model-id", "board")


def test_a_scheduled_training_does_what_the_latest_was_asked(service: Service, client: Client) -> None:
    """Its settings stand in the schedule, where people see and change them; it can be run as it stands."""
    client.train("asked", maximum_interaction_age_days=100_000)
    made = client.schedule("asked", "train", "30 2 * * *")

    with service.prefect_client() as prefect:
        path = f"/deployments/{deployment(service, 'train_model/train-model')}"
        (stored,) = [one for one in prefect.get(f"{path}/schedules").json() if one["id"] == made.schedule_id]
        assert {"model_id": "asked", "maximum_interaction_age_days": 100_000} == stored["parameters"]
        prefect.post(f"{path}/create_flow_run", json={"parameters": stored["parameters"]}).raise_for_status()
    wait_until(lambda: client.model("asked").live_version == 2, 120, "the training")


def test_a_bad_schedule_is_told(service: Service) -> None:
    """Over HTTP by its fields, by the command in a sentence."""
    with service.client(service.key) as client:
        answer = client.post("/models/board/schedules", json={"work": "train", "cron": "25:00", "timezone": "Mars"})
    assert httpx.codes.UNPROCESSABLE_ENTITY == answer.status_code
    assert ["cron", "timezone"] == [error["field"] for error in answer.json()["errors"]]
    said = service.command("schedule", "--model-id", "board", "--cron", "0 5 * * 1")
    assert "lucid: say what is to be done then: --train or --refresh" in said
