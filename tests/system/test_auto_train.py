"""Models that are trained by themselves after uploads, by an automation of a real Prefect server."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lucid.auto_train import train_if_due
from lucid.client import Client
from lucid.errors import AutoTrainOff, UnknownModel
from lucid.schema.fields import utc_now
from lucid.store.catalog import Catalog
from lucid.training.run import alone_with
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard
from tests.support.service import Service, serving, wait_until

QUIET = 10
MADE = timedelta(seconds=QUIET)
PATIENCE = 400


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    """A service with batches of two tags, and a model of one of them that was asked for more than its tags."""
    folder = tmp_path_factory.mktemp("auto")
    workspace = Workspace(folder / "home")
    for tag in ("mine", "others"):
        workspace.import_files(write_checkerboard(folder), tags=[tag])
    workspace.train("board", data_tags=["mine"], maximum_interaction_age_days=100_000)
    with serving(folder / "home", prefect_database) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.python_client() as client:
        yield client


def upload(client: Client, folder: Path, tag: str, like: str = "u00,i00") -> None:
    file = folder / "more.csv"
    file.write_text(f"type,source_id,target_id,timestamp,metadata\nlikes,{like},,\n")
    client.import_files([file], tags=[tag])


def version(client: Client) -> int:
    """The version that the latest training has made, or makes."""
    return client.status("board").version


def wait_for_version(client: Client, number: int) -> None:
    """Wait until a training has made a version."""

    def done() -> bool:
        status = client.status("board")
        return (status.version, status.status) == (number, "completed")

    wait_until(done, PATIENCE, f"version {number}")


def automations(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.prefect("/automations/filter", {})
    return [one for one in found if one["name"].startswith("lucid: train ")]


def looks(service: Service) -> list[dict[str, Any]]:
    """Runs that look whether a training is due, those first that begin last."""
    found: list[dict[str, Any]] = service.prefect(
        "/flow_runs/filter",
        {"flows": {"name": {"any_": ["auto_train"]}}, "sort": "EXPECTED_START_TIME_DESC"},
    )
    return found


def test_every_way_in_tells_and_changes_the_same(service: Service, client: Client) -> None:
    """What one switches on all tell, and Prefect shows; what one switches off is off for all."""
    with pytest.raises(AutoTrainOff, match="model 'board' is not trained after uploads"):
        client.auto_train("board")
    made = client.switch_auto_train_on("board", 600, 21_600)

    assert (600, 21_600, True, None) == (made.quiet_seconds, made.min_interval_seconds, made.active, made.due)
    assert made == client.auto_train("board")
    said = service.command("auto-train", "--model-id", "board")
    assert all(word in said for word in ("10m", "6h", "waits", made.automation_id))
    changed = service.command("auto-train", "--model-id", "board", "--quiet", "90s", "--at-most-every", "2d")
    assert all(word in changed for word in ("90s", "2d", made.automation_id))
    (shown,) = automations(service)
    assert ("lucid: train board after uploads", 90) == (shown["name"], shown["trigger"]["within"])
    assert made.automation_id in service.command("auto-train", "--model-id", "board", "--off")
    assert [] == automations(service)
    with pytest.raises(AutoTrainOff):
        client.switch_auto_train_off("board")
    with pytest.raises(UnknownModel):
        client.switch_auto_train_on("none")


def test_uploads_that_have_come_to_rest_are_trained_once(service: Service, client: Client, tmp_path: Path) -> None:
    """Each starts the quiet time anew, those of other tags do nothing; the training is asked what the latest was."""
    client.switch_auto_train_on("board", 3 * QUIET, 0)
    upload(client, tmp_path, "others")
    assert client.auto_train("board").due is None
    upload(client, tmp_path, "mine")
    first = client.auto_train("board").due
    upload(client, tmp_path, "mine", "u02,i02")
    due = client.auto_train("board").due
    assert first
    assert due
    assert first < due

    wait_for_version(client, 2)

    trained = client.status("board")
    assert due <= trained.start_timestamp
    assert len(client.batches(tags=["mine"])) == len(trained.data_batch_ids)
    assert 100_000 == Catalog(service.home).trainings.get("board").request["maximum_interaction_age_days"]
    assert client.auto_train("board").due is None
    assert 1 == [look["state"]["message"] for look in looks(service)].count("board: version 2 is to be trained")


def test_prefect_s_automation_starts_it(service: Service, client: Client, tmp_path: Path) -> None:
    """Where Prefect hears of uploads in time; on a busy machine the service may be the first to notice."""

    def fired() -> bool:
        return "AUTOMATION" in [(look["created_by"] or {}).get("type") for look in looks(service)]

    number = version(client)
    while not fired():
        number += 1
        assert number <= 6, "no upload made the automation start anything"
        upload(client, tmp_path, "mine")
        wait_for_version(client, number)


def test_what_comes_too_early_waits(service: Service, client: Client, tmp_path: Path) -> None:
    """Prefect shows when it is looked at again; a shorter interval counts at once, and nothing is forgotten."""
    number, began = version(client), client.status("board").start_timestamp
    client.switch_auto_train_on("board", QUIET, 3600)
    upload(client, tmp_path, "mine")

    def planned() -> list[dict[str, Any]]:
        soon = (utc_now() + timedelta(minutes=1)).isoformat()  # not the one that begins in this moment
        return [run for run in looks(service) if run["state_type"] == "SCHEDULED" and run["expected_start_time"] > soon]

    (later,) = wait_until(planned, PATIENCE, "another look to be planned")
    due = datetime.fromisoformat(later["expected_start_time"])
    assert abs(due - began - timedelta(hours=1)) < timedelta(seconds=1)
    told = client.auto_train("board").due
    assert told
    assert abs(due - told) < timedelta(seconds=1)
    assert number == version(client)

    client.switch_auto_train_on("board", QUIET, 0)
    wait_for_version(client, number + 1)


def test_what_comes_while_a_training_runs_is_trained_after_it(service: Service, client: Client, tmp_path: Path) -> None:
    """Also where that one is killed, and was the first to use what came before."""
    workspace, number = Workspace(service.home), version(client)
    with alone_with(workspace.settings, "board"):
        Catalog(service.home).trainings.start("board", {"data_tags": ["mine"]}, utc_now(), "fit")
        upload(client, tmp_path, "mine")
        assert client.auto_train("board").due is None
        on_this_server = workspace.settings.model_copy(update={"prefect_port": service.prefect_port})
        said = f"version {number + 1} is being trained; what it does not use is trained after it"
        assert said == train_if_due(on_this_server, "board")

    wait_for_version(client, number + 2)

    assert len(client.batches(tags=["mine"])) == len(client.status("board").data_batch_ids)


def test_an_upload_before_the_service_stops_is_trained_when_it_is_back(
    service: Service, client: Client, tmp_path: Path
) -> None:
    """However long after its quiet time that is."""
    number = version(client)
    upload(client, tmp_path, "mine")
    service.stop()
    time.sleep(QUIET)
    assert number == Catalog(service.home).trainings.get("board").status.version
    service.start()

    wait_for_version(client, number + 1)


def test_automations_follow_their_models(service: Service, client: Client, tmp_path: Path) -> None:
    """A pause in Prefect is told and kept, tags are those of the latest training, a deleted model leaves none."""
    made, number = client.auto_train("board"), version(client)
    path = f"/automations/{made.automation_id}"
    with service.prefect_client() as prefect:
        prefect.patch(path, json={"enabled": False}).raise_for_status()
    client.train("board", data_tags=["others"])

    def matched() -> Any:
        (found,) = automations(service)
        return found["trigger"]["match_related"]["prefect.resource.id"] == ["lucid.tag.others"]

    wait_until(matched, PATIENCE, "the tags to be followed")
    upload(client, tmp_path, "others")
    auto = client.auto_train("board")
    assert (made.automation_id, False, True) == (auto.automation_id, auto.active, auto.due is not None)
    assert "paused" in service.command("auto-train", "--model-id", "board")
    wait_until(lambda: auto.due and utc_now() > auto.due + 4 * MADE, PATIENCE, "the time at which it is not trained")
    assert number + 1 == version(client)

    with service.prefect_client() as prefect:
        prefect.patch(path, json={"enabled": True}).raise_for_status()
    wait_for_version(client, number + 2)
    client.delete_model("board")
    wait_until(lambda: not automations(service), PATIENCE, "the automation to go")
