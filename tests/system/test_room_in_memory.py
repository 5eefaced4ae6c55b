"""A training that has no room in memory beside another waits in the queue, and is done after it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from lucid.api.paths import BASE
from lucid.keys import create_key
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.training.estimate import Cost, write_cost
from lucid.training.room import worker
from lucid.training.run import working_on
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard
from tests.support.service import Service, wait_for_training, wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("room")
    service = Service(folder / "home", prefect_database)
    service.environment["LUCID_TRAINING_MEMORY"] = "2.1GB"
    Workspace(service.home).import_files(write_checkerboard(folder))
    service.key = create_key(Catalog(service.home))[1]
    service.start()
    yield service
    service.stop()


def test_a_training_waits_in_the_queue_until_there_is_room(service: Service) -> None:
    """While one that anybody else has started needs the memory; its status says for what it waits."""
    base = f"http://127.0.0.1:{service.api_port}{BASE}"
    with httpx.Client(base_url=base, headers={"apikey": service.key}, timeout=60, trust_env=False) as client:

        def status() -> dict[str, str]:
            found: dict[str, str] = client.get("/status", params={"model_id": "small"}).raise_for_status().json()
            return found

        entered = working_on(Workspace(service.home).settings, TrainingRequest(model_id="large"))
        with suppress(InterruptedError), entered as large:
            large.folder.mkdir(parents=True)
            write_cost(large.folder, Cost(None, needs=2_000_000_000, is_admitted=True, **worker()))  # type: ignore[arg-type]
            assert 202 == client.post("/train", json={"model_id": "small"}).status_code
            wait_until(lambda: "waits for memory: about " in status()["message"], 120, "the training to wait")
            assert ("running", "queued") == (status()["status"], status()["stage"])
            assert status()["message"].endswith(" MB, 100 MB free")
            raise InterruptedError

        assert "completed" == wait_for_training(client, "small")["status"]
