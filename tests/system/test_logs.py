"""The logs of a whole service as JSON: every line, what it is about, and nothing that is nobody's business."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.training.steps import TRAINING
from tests.support.checkerboard import NOTHING_LEFT, write_checkerboard
from tests.support.service import SECRET, Service, flow_run_of, free_port, wait_for_training, wait_until

TOKEN = "a-token-of-a-customer"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    """A service that has seen an upload, a training, one that failed, a death of the flows, and its end."""
    folder = tmp_path_factory.mktemp("logs")
    running = Service(folder / "home", prefect_database)
    running.environment["LUCID_LOG_FORMAT"] = "json"
    try:
        running.start()
        running.key = running.command("keys", "create").split()[0]
        with running.client(running.key) as client:
            _work(client, folder)
            flows = running.part("lucid.flows.serve")
            flows.kill()
            wait_until(lambda: running.find_part("lucid.flows.serve") not in (None, flows), 60, "the flows")
            client.get("/status", params={"model_id": "board", "apikey": running.key})
            client.get("/models", headers={"apikey": "lucid_of-somebody-else-and-wrong"})
        yield running
    finally:
        running.stop()


def _work(client: httpx.Client, folder: Path) -> None:
    files = [("files", (file.name, file.read_bytes())) for file in write_checkerboard(folder / "files")]
    client.post("/data_batch", files=files).raise_for_status()
    nobody = f"http://127.0.0.1:{free_port()}/hook?token={TOKEN}"
    for model_id, more in (("board", {"callback_url": nobody}), ("empty", {"data_filters": NOTHING_LEFT})):
        client.post("/train", json={"model_id": model_id, **more}).raise_for_status()
        wait_for_training(client, model_id)


def texts(service: Service) -> dict[str, str]:
    logs = (service.home / "logs").glob("*.log")
    return {path.name: path.read_text() for path in (service.log, *logs)}


def lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for text in texts(service).values() for line in text.splitlines()]


def test_every_line_of_every_log_is_json(service: Service) -> None:
    """Those of uvicorn, Prefect and what watches the parts too; each says when, how bad, who and what."""
    assert {"home.log", "api.log", "flows.log", "prefect.log"} == set(texts(service))
    for line in lines(service):
        assert {"time", "level", "logger", "message"} <= set(line)
        assert line["time"].endswith("Z")
    loggers = {line["logger"] for line in lines(service)}
    assert {"uvicorn.error", "prefect.flow_runs", "prefect.task_runs", "lucid", "lucid.service"} <= loggers
    assert any("flows was ended by signal 9" in line["message"] for line in lines(service))


def test_lines_of_a_training_carry_its_model_version_and_run(service: Service) -> None:
    """Ours and Prefect's, in the process of the run and in its threads."""
    with service.client(service.key) as client:
        run_id = flow_run_of(client, "board")
    of_run = [line for line in lines(service) if line.get("flow_run_id") == run_id]

    ours = [line for line in of_run if line["logger"] == "lucid"]
    assert len(ours) >= len(TRAINING)
    assert {("board", 1)} == {(line.get("model_id"), line.get("version")) for line in ours}
    ended = [line for line in of_run if line["message"].startswith("Finished in state")]
    assert len(ended) >= len(TRAINING)
    assert {("board", 1)} == {(line.get("model_id"), line.get("version")) for line in ended}
    assert any(line.get("task_run_name") == "publish: board version 1" for line in ended)


def test_lines_of_an_import_carry_its_batch(service: Service) -> None:
    """One for each file at least, with the run that loaded it."""
    with service.client(service.key) as client:
        batches = {batch["batch_id"] for batch in client.get("/data_batch").json()}
    told = {line["batch_id"] for line in lines(service) if "batch_id" in line and "flow_run_id" in line}

    assert batches == told


def test_no_secret_stands_in_a_log(service: Service) -> None:
    """Neither keys, right or wrong, nor what signs callbacks or signs in to Prefect, nor what customers gave us."""
    auth = (service.home / "prefect_auth_string").read_text()
    secrets = service.key, "of-somebody-else-and-wrong", auth, auth.partition(":")[2], SECRET, TOKEN

    for name, text in texts(service).items():
        assert [] == [secret for secret in secrets if secret in text], name


def test_no_first_key_is_made_that_would_stand_in_a_log(service: Service) -> None:
    """The log says how to make one; the only key is the one that the test made so."""
    assert "make one with: lucid keys create" in service.said()
    with service.client(service.key) as client:
        assert 200 == client.get("/models").status_code
    assert "first key" not in service.command("keys", "list")


def test_the_end_of_a_service_is_told_as_json(tmp_path: Path) -> None:
    """Also where it does not even begin, as its port is taken."""
    blocked = Service(tmp_path / "home")
    blocked.environment["LUCID_LOG_FORMAT"] = "json"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", blocked.api_port))
        taken.listen()
        said = [json.loads(line) for line in blocked.command("up").splitlines()]

    assert any("cannot be used" in line["message"] for line in said)
