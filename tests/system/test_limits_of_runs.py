"""Deployments have limits of their own: what waits for one of them holds back nothing else."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from lucid.flows.deployments import DEPLOYMENTS, RUNS_AT_ONCE
from lucid.store.locks import was_worked_on
from tests.support.checkerboard import write_checkerboard
from tests.support.service import Service, wait_for_training, wait_until

(TRAININGS,) = (deployment.limit for deployment in DEPLOYMENTS if deployment.name == "train-model")
WAITING = RUNS_AT_ONCE
"""So many trainings that they would take every place, had they not a limit of their own."""


_OF_ALL = "catalog.duckdb", "/locks/memory"
"""Files of which one process at a time holds one."""


class Stopped:
    """Trainings that do nothing meanwhile, as if what they do took very long."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._processes: set[psutil.Process] = set()

    def __enter__(self) -> "Stopped":
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            process.resume()

    def stop_begun(self) -> int:
        """Stop every process that works on a training, which its lock shows; returns how many are stopped.

        One that holds what is of all at that moment goes on for now, or everybody else would wait for it.
        """
        for process in {*self._service.runs()} - self._processes:
            with suppress(psutil.Error):  # it has ended
                process.suspend()
                open_files = " ".join(file.path for file in process.open_files())
                if "/locks/train-" in open_files and not any(held in open_files for held in _OF_ALL):
                    self._processes.add(process)
                else:
                    process.resume()
        return len(self._processes)


def upload(client: httpx.Client, folder: Path) -> list[dict[str, Any]]:
    files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(folder)]
    batches: list[dict[str, Any]] = client.post("/data_batch", files=files).raise_for_status().json()
    return batches


def test_trainings_that_wait_do_not_hold_back_an_upload(service: Service, tmp_path: Path) -> None:
    """As many trainings work as their limit says, the others wait, an upload is imported at once; then it goes on."""
    models = [f"m{number}" for number in range(WAITING)]
    with service.client(service.first_key()) as client:
        client.timeout = httpx.Timeout(180)  # a machine that is busy with other things may take long to start a run
        upload(client, tmp_path)
        with Stopped(service) as stopped:
            for begun, model_id in enumerate(models, start=1):
                client.post("/train", json={"model_id": model_id}).raise_for_status()
                if begun <= TRAININGS:
                    wait_until(lambda: stopped.stop_begun() == begun, 60, "the trainings to begin")  # noqa: B023
            assert ["completed"] * 2 == [batch["status"] for batch in upload(client, tmp_path)]

            waiting = [model_id for model_id in models if not was_worked_on(service.home, f"train-{model_id}")]
            places = [place(client, model_id) for model_id in waiting]
            assert ["the next one", *(f"{before} before it" for before in range(1, len(waiting)))] == places
            assert TRAININGS == trainings(service, type={"any_": ["SCHEDULED", "PENDING", "RUNNING"]})
            assert WAITING == TRAININGS + len(waiting)

            for model_id in waiting[1:]:
                client.post(f"/models/{model_id}/cancel").raise_for_status()

        left = [model_id for model_id in models if model_id not in waiting[1:]]
        ended = [wait_for_training(client, model_id) for model_id in left]
        assert ["completed"] * (TRAININGS + 1) == [one["status"] for one in ended], ended


def place(client: httpx.Client, model_id: str) -> str:
    """What a training that waits has before it."""
    status = client.get("/status", params={"model_id": model_id}).json()
    assert ("running", "queued", None) == (status["status"], status["stage"], status["flow_run_url"])
    return str(status["message"]).removeprefix("waits for its turn, ")


def trainings(service: Service, **state: Any) -> int:
    """How many trainings are in such a state for Prefect."""
    asked = {"deployments": {"name": {"any_": ["train-model"]}}, "flow_runs": {"state": state}}
    found: list[dict[str, Any]] = service.prefect("/flow_runs/filter", asked)
    return len(found)
