"""A service whose runs map their tasks on Dask: each starts workers of its own, which never outlive it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lucid.store.home import Home
from tests.support.checkerboard import write_checkerboard
from tests.support.service import Service, flow_run_of, wait_for_training, wait_until

USERS = 30
"""Sources of the checkerboard, each of which is a partition of its own."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service") / "home", prefect_database)
    running.environment |= {"LUCID_TASK_RUNNER": "dask", "LUCID_PARTITION_SCORES": "1", "OMP_NUM_THREADS": "2"}
    try:
        running.start()
        running.key = running.first_key()
        with running.client(running.key) as client:
            files = write_checkerboard(tmp_path_factory.mktemp("files"))
            client.post("/data_batch", files=[("files", (file.name, file.read_bytes())) for file in files])
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client(service.key) as client:
        yield client


def run_and_workers(service: Service, client: httpx.Client) -> tuple[psutil.Process, list[psutil.Process]]:
    """Train, and wait until workers compute for the run's process; all are forked from the same one."""
    client.post("/train", json={"model_id": "board"}).raise_for_status()
    forked: list[psutil.Process] = wait_until(lambda: len(found := service.runs()) > 2 and found, 120, "workers")
    run, *workers = sorted(forked, key=lambda process: process.create_time())
    return run, workers


def test_each_partition_is_a_task_and_no_worker_is_left(service: Service, client: httpx.Client) -> None:
    """Prefect knows them all, and the model answers."""
    run_and_workers(service, client)

    status = wait_for_training(client, "board")
    assert "completed" == status["status"], status["message"]
    wait_until(lambda: not service.runs(), 60, "the workers to end")
    this_run = {"flow_runs": {"id": {"any_": [flow_run_of(client, "board")]}}}
    runs = wait_until(
        lambda: len(found := service.prefect("/task_runs/filter", this_run)) > USERS and found, 60, "tasks"
    )
    assert USERS == sum(run["name"].startswith("precompute user → item: part") for run in runs)
    asked = {"model_id": "board", "source_id": "u05", "target_type": "item"}
    assert client.get("/recommended_items", params=asked).raise_for_status().json()["recommendations"]


def test_workers_of_a_killed_run_end(service: Service, client: httpx.Client) -> None:
    """As soon as it has; before, it says in its log what its threads do, if asked to."""
    run, workers = run_and_workers(service, client)
    log = Home(service.home).logs / "flows.log"
    run.send_signal(signal.SIGUSR1)
    wait_until(lambda: "(most recent call first)" in log.read_text(), 60, "the stacks of the run's threads")

    run.kill()

    wait_until(lambda: not any(worker.is_running() for worker in workers), 60, "the workers to end")
    assert "error" == wait_for_training(client, "board")["status"]


def test_workers_of_a_cancelled_run_end(service: Service, client: httpx.Client) -> None:
    """With it."""
    _, workers = run_and_workers(service, client)

    client.post("/models/board/cancel").raise_for_status()

    assert "cancelled" == wait_for_training(client, "board")["message"]
    wait_until(lambda: not any(worker.is_running() for worker in workers), 60, "the workers to end")
