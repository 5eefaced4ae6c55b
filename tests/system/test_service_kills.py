"""A service of which parts, runs or its own process are killed: what lives goes on, what died is started again."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lucid.service.supervisor import marked
from tests.support.checkerboard import write_checkerboard
from tests.support.service import Service, flow_run_of, wait_for_training, wait_until

ASKED = {"model_id": "board", "source_id": "u05", "target_type": "item"}


@pytest.fixture(scope="module")
def service(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service with a trained model `board`."""
    service.key = service.first_key()
    with service.client(service.key) as client:
        upload(client, tmp_path_factory.mktemp("files"))
        client.post("/train", json={"model_id": "board"}).raise_for_status()
        assert "completed" == wait_for_training(client, "board")["status"]
    return service


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client(service.key) as client:
        yield client


def upload(client: httpx.Client, folder: Path) -> list[dict[str, Any]]:
    files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(folder)]
    waited = {"wait_seconds": "120"}
    batches: list[dict[str, Any]] = client.post("/data_batch", files=files, data=waited).raise_for_status().json()
    return batches


def answers(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/recommended_items", params=ASKED).is_success)
    except httpx.TransportError:
        return False


def processes(service: Service) -> list[psutil.Process]:
    """All that belongs to the service, but for its own process."""
    return marked(service.home)


def begun_training(client: httpx.Client, model_id: str) -> None:
    """Start a training and wait until a process works on it."""
    client.post("/train", json={"model_id": model_id}).raise_for_status()
    wait_until(lambda: stage(client, model_id) != "queued", 60, "the training to begin")


def stage(client: httpx.Client, model_id: str) -> str:
    found: str = client.get("/status", params={"model_id": model_id}).raise_for_status().json()["stage"]
    return found


@pytest.mark.parametrize("module", ["lucid.flows.serve", "lucid.flows.prefect_server"])
def test_look_ups_go_on_while_another_part_is_down(service: Service, client: httpx.Client, module: str) -> None:
    """Every look-up is answered until the part is back; then data come in as before."""
    before = service.part(module).pid
    service.part(module).kill()
    refused = []

    def is_back() -> bool:
        if not answers(client):
            refused.append(time.time())
        found = service.find_part(module)
        return found is not None and found.pid != before

    wait_until(is_back, 60, f"another {module}")
    ready = client.base_url.join("/health/ready")
    wait_until(lambda: client.get(ready).is_success, 120, "all parts to answer")

    assert [] == refused
    assert ["completed"] * 2 == [batch["status"] for batch in upload(client, service.home.parent)]
    assert service.process.poll() is None


def test_an_api_that_is_killed_answers_again(service: Service, client: httpx.Client) -> None:
    """Its successor has the same models and keys; the other parts are the same processes."""
    others = [service.part("lucid.flows.serve").pid, service.part("lucid.flows.prefect_server").pid]
    before = service.part("uvicorn").pid
    service.part("uvicorn").kill()

    wait_until(lambda: answers(client), 30, "look-ups")

    assert before != service.part("uvicorn").pid
    assert others == [service.part("lucid.flows.serve").pid, service.part("lucid.flows.prefect_server").pid]


def test_a_run_that_waits_is_not_done_twice_when_the_api_starts_again(service: Service, client: httpx.Client) -> None:
    """A training that was just asked for survives the death of the API."""
    started = client.post("/train", json={"model_id": "waiting"}).raise_for_status().json()
    service.part("uvicorn").kill()
    wait_until(lambda: answers(client), 30, "look-ups")

    status = wait_for_training(client, "waiting")

    assert ("completed", started["version"]) == (status["status"], status["version"]), status["message"]
    with service.prefect_client() as prefect:
        run = prefect.get(f"/flow_runs/{flow_run_of(client, 'waiting')}").raise_for_status().json()
    assert 1 == run["run_count"]


def test_runs_end_with_the_process_that_serves_flows(service: Service, client: httpx.Client) -> None:
    """A training that was under way is told as ended; the next one is done by the successor."""
    begun_training(client, "board")
    serving = service.part("lucid.flows.serve")
    runs = service.runs()
    serving.kill()

    status = wait_for_training(client, "board")

    assert runs
    assert not any(run.is_running() and run.status() != psutil.STATUS_ZOMBIE for run in runs)
    assert "error" == status["status"]
    assert "train again" in status["message"]
    client.post("/train", json={"model_id": "board"}).raise_for_status()
    assert "completed" == wait_for_training(client, "board")["status"]


def test_a_prefect_server_that_dies_takes_no_training_with_it(service: Service, client: httpx.Client) -> None:
    """One that has begun completes, and what people cancel in Prefect afterwards is ended as before."""
    begun_training(client, "board")
    service.part("lucid.flows.prefect_server").kill()
    status = wait_for_training(client, "board")
    assert "completed" == status["status"], status["message"]

    begun_training(client, "board")
    with service.prefect_client() as prefect:
        asked = {"state": {"type": "CANCELLING"}}
        prefect.post(f"/flow_runs/{flow_run_of(client, 'board')}/set_state", json=asked).raise_for_status()

    status = wait_for_training(client, "board")
    assert ("error", "cancelled") == (status["status"], status["message"])


@pytest.mark.parametrize("whose", ["its own", "that of all flows"])
def test_a_refresh_whose_process_dies_is_done_again(service: Service, whose: str) -> None:
    """By the same run, so that whoever scheduled it finds it completed."""
    with service.prefect_client() as prefect:
        name = "/deployments/name/refresh_recommendations/refresh-recommendations"
        refresh = prefect.get(name).raise_for_status().json()["id"]
        body = {"parameters": {"model_id": "board"}, "state": {"type": "SCHEDULED"}}
        run = prefect.post(f"/deployments/{refresh}/create_flow_run", json=body).raise_for_status().json()["id"]

        def look() -> Any:
            return prefect.get(f"/flow_runs/{run}").raise_for_status().json()

        deadline = time.monotonic() + 60
        while look()["state_type"] != "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.02)
        victims = service.runs() if whose == "its own" else [service.part("lucid.flows.serve")]
        for victim in victims:
            victim.kill()
        assert "COMPLETED" != look()["state_type"]

        wait_until(lambda: look()["state_type"] == "COMPLETED", 120, "the refresh")
        assert 2 == look()["run_count"]


def kill_parent(service: Service) -> None:
    service.process.kill()
    service.process.wait()


def kill_parent_of_stopped(service: Service) -> None:
    for one in processes(service):
        if "resource_tracker" not in " ".join(one.cmdline()):  # Python's own, which ends by itself when it goes on
            one.suspend()
    kill_parent(service)


@pytest.mark.parametrize("kill", [kill_parent, kill_parent_of_stopped])
def test_nothing_lives_on_after_the_service_is_killed(
    service: Service, client: httpx.Client, kill: Callable[[Service], None]
) -> None:
    """Also a training that is under way ends; the next start is at once and answers as before."""
    begun_training(client, "board")
    assert service.runs()

    kill(service)

    wait_until(lambda: not processes(service), 5, "all processes to end")
    service.start()
    assert answers(client)
    assert "error" == wait_for_training(client, "board")["status"]


def test_down_ends_what_a_lost_service_has_left(service: Service, client: httpx.Client) -> None:
    """Processes that do not end by themselves, as on systems whose kernel does not see to it."""
    service.stop()
    with service.left_behind() as left:
        assert "ended 1 processes that a lost service had left" in service.command("down")
        assert -signal.SIGKILL == left.wait(5) or not psutil.pid_exists(left.pid)
    assert "no service runs on" in service.command("down")

    service.start()

    assert answers(client)
