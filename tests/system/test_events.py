"""What Lucid tells Prefect of its work, read back from a real server: once, whoever has done it, however it ended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.flows.assets import answers_asset
from lucid.schema.fields import check
from lucid.schema.training import TrainingRequest
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, train_checkerboard, write_checkerboard
from tests.support.service import Service, serving, wait_for_training, wait_until

Told = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    """A service on a home in which the command has imported and trained before any Prefect server ran."""
    folder = tmp_path_factory.mktemp("events")
    train_checkerboard(Workspace(folder / "home"), folder, "early")
    with serving(folder / "home", prefect_database) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client(service.key) as client:
        yield client


def told(service: Service, *resource_ids: str) -> list[Told]:
    """Lucid's own events about some resources, oldest first."""
    about = {"resource": {"id": list(resource_ids)}, "event": {"prefix": ["lucid."]}, "order": "ASC"}
    found: list[Told] = service.prefect("/events/filter", {"filter": about})["events"]
    return found


def wait_for(service: Service, resource_id: str, *names: str) -> list[Told]:
    """The events about a resource, by name, once there are so many; they are these, in whatever order."""
    wait_until(lambda: len(told(service, resource_id)) >= len(names), 120, f"{names}")
    found = sorted(told(service, resource_id), key=lambda one: str(one["event"]))
    assert sorted(names) == [one["event"] for one in found]
    return found


def roles(event: Told) -> dict[str, str]:
    """The resources that an event relates to, by role."""
    return {one["prefect.resource.role"]: one["prefect.resource.id"] for one in event["related"]}


def upload(client: httpx.Client, folder: Path, *tags: str) -> list[str]:
    files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(folder)]
    batches = client.post("/data_batch", files=files, data={"tags": ",".join(tags)}).raise_for_status().json()
    return [batch["batch_id"] for batch in batches]


def test_what_was_done_without_prefect_is_told_once_it_is_there(service: Service, client: httpx.Client) -> None:
    """With the time at which it happened."""
    training = client.get("/status", params={"model_id": "early"}).json()

    completed, published = wait_for(service, "lucid.model.early", "lucid.training.completed", "lucid.version.published")
    for batch in client.get("/data_batch").json():
        (imported,) = wait_for(service, f"lucid.batch.{batch['batch_id']}", "lucid.batch.imported")
        assert batch["file_name"] == imported["resource"]["prefect.resource.name"]
    assert training["end_timestamp"][:23] == completed["occurred"][:23]
    assert {"model_id": "early", "version": 1, "batches": 2, "message": "", "stage": "finished"}.items() <= completed[
        "payload"
    ].items()
    assert ("training", 270) == (published["payload"]["made_by"], published["payload"]["interactions"])
    assert published["payload"]["recommendations"] > 0


def test_an_upload_is_told_with_its_tags_and_its_run(service: Service, client: httpx.Client, tmp_path: Path) -> None:
    """Tags of any text are resources in whose ids nothing stands for a pattern; the run's own resources come along."""
    entities, interactions = upload(client, tmp_path, "2026", "all *?[!a]")

    (first,), (second,) = (
        wait_for(service, f"lucid.batch.{batch_id}", "lucid.batch.imported") for batch_id in (entities, interactions)
    )

    assert {
        "batch_id": interactions,
        "file_name": "interactions.csv",
        "tags": ["2026", "all *?[!a]"],
        "entity_count": 0,
        "interaction_count": 270,
        "rejected_count": 0,
    } == second["payload"]
    tags = [one for one in first["related"] if one["prefect.resource.role"] == "data-tag"]
    assert ["lucid.tag.2026", "lucid.tag.all%20%2A%3F%5B%21a%5D"] == [one["prefect.resource.id"] for one in tags]
    assert {"flow-run", "flow", "deployment", "data-tag", "tag"} <= {*roles(second)}


def test_a_training_and_a_refresh_are_told(service: Service, client: httpx.Client, tmp_path: Path) -> None:
    """Each once, with the version that it has published; what a run did names it."""
    upload(client, tmp_path, "mine")
    client.post("/train", json={"model_id": "board", "data_filters": NOTHING_LEFT}).raise_for_status()
    assert "error" == wait_for_training(client, "board")["status"]
    (failed,) = wait_for(service, "lucid.model.board", "lucid.training.failed")
    assert "no interaction" in failed["payload"]["message"]
    client.post("/train", json={"model_id": "board", "data_tags": ["mine"]}).raise_for_status()
    wait_for_training(client, "board")
    service.command(
        "prefect", "deployment", "run", "refresh_recommendations/refresh-recommendations", "-p", "model_id=board"
    )

    found = wait_for(
        service,
        "lucid.model.board",
        *("lucid.training.failed", "lucid.training.completed", "lucid.version.published", "lucid.version.published"),
        "lucid.recommendations.refreshed",
    )

    refreshed = next(one for one in found if one["event"] == "lucid.recommendations.refreshed")
    published = [one for one in found if one["event"] == "lucid.version.published"]
    assert {("training", 2), ("refresh", 3)} == {
        (one["payload"]["made_by"], one["payload"]["version"]) for one in published
    }
    assert "lucid.version.board.3" == roles(refreshed)["version"]
    assert (2, "lucid.tag.mine") == (refreshed["payload"]["refresh_of"], roles(refreshed)["data-tag"])
    assert {"flow-run", "deployment"} <= {*roles(refreshed)}


def test_a_training_that_was_killed_and_an_erasure_are_told(
    service: Service, client: httpx.Client, tmp_path: Path
) -> None:
    """Neither has a run that could tell it."""
    upload(client, tmp_path, "killed")
    client.post("/train", json={"model_id": "killed"}).raise_for_status()
    wait_for_training(client, "killed")
    client.post("/train", json={"model_id": "killed"}).raise_for_status()

    def begun() -> bool:
        return bool(client.get("/status", params={"model_id": "killed"}).json()["stage"] != "queued")

    wait_until(begun, 60, "the training to begin")
    for run in service.runs():
        run.kill()
    assert "error" == wait_for_training(client, "killed")["status"]
    client.delete("/entities", params={"id": "u05"}).raise_for_status()

    found = wait_for(
        service,
        "lucid.model.killed",
        *("lucid.training.completed", "lucid.version.published", "lucid.version.published"),
        "lucid.training.failed",
    )

    by_name = {one["event"]: one for one in found}
    assert (
        "the training process ended before it was done; train again"
        == by_name["lucid.training.failed"]["payload"]["message"]
    )
    assert ("erasure", 1) == tuple(
        by_name["lucid.version.published"]["payload"][name] for name in ("made_by", "refresh_of")
    )


def test_commands_work_without_prefect_and_are_told_later(service: Service, tmp_path: Path) -> None:
    """Nothing fails where no server answers; the service tells what was done meanwhile, and nothing twice."""
    entities, interactions = write_checkerboard(tmp_path)
    service.stop()
    said = service.command("import", str(entities), str(interactions), "--tags", "night")
    assert "completed" in said, said
    failed = service.command("train", "--model-id", "late", "--data-filters", str(NOTHING_LEFT).replace("'", '"'))
    assert "lucid: " in failed
    batches = Workspace(service.home).batches(tags=["night"])
    service.start()

    (late,) = wait_for(service, "lucid.model.late", "lucid.training.failed")
    for batch in batches:
        wait_for(service, f"lucid.batch.{batch.batch_id}", "lucid.batch.imported")
    wait_for(
        service, "lucid.model.early", "lucid.training.completed", *["lucid.version.published"] * 2
    )  # by the training and the erasure
    assert "no interaction" in late["payload"]["message"]


def test_what_runs_make_are_assets(service: Service, client: httpx.Client, tmp_path: Path) -> None:
    """Each batch, version and its answers, and which was made of which, as far as Prefect's own events say it."""
    batches = {f"lucid://batches/{batch_id}" for batch_id in upload(client, tmp_path, "assets")}
    client.post("/train", json={"model_id": "assets", "data_tags": ["assets"]}).raise_for_status()
    wait_for_training(client, "assets")
    refresh = ("refresh_recommendations/refresh-recommendations", "-p", "model_id=assets")
    service.command("prefect", "deployment", "run", *refresh)
    first, second = (f"lucid://models/assets/versions/{version}" for version in (1, 2))

    def made() -> dict[str, set[str]]:
        """What each asset was made of, by its event."""
        about = {"resource": {"id": [*batches, first, second, f"{first}/recommendations", f"{second}/recommendations"]}}
        told = service.prefect(
            "/events/filter", {"filter": {**about, "event": {"name": ["prefect.asset.materialization.succeeded"]}}}
        )["events"]
        return {
            event["resource"]["prefect.resource.id"]: {
                one["prefect.resource.id"] for one in event["related"] if one["prefect.resource.role"] == "asset"
            }
            for event in told
        }

    wait_until(lambda: f"{second}/recommendations" in made(), 120, "the answers of the refresh")
    assert {
        **{key: set[str]() for key in batches},
        first: batches,
        f"{first}/recommendations": {first},
        second: {first, *batches},
        f"{second}/recommendations": {second},
    } == made()


def test_every_id_makes_a_key_of_an_asset() -> None:
    """However long a model's name is, and of whatever it may consist; two names never make one key."""
    longest = "a.b_c:D-9" * 14 + "--"
    assert 128 == len(check(TrainingRequest, {"model_id": longest}).model_id or "")

    keys = [answers_asset(name, 2**31 - 1).key for name in (longest, "..", ".", ":", "-")]

    assert 5 == len(set(keys))
