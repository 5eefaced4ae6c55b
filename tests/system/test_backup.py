"""A backup of a service that is at work: what is restored elsewhere answers, signs in and is scheduled as it was."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.checkerboard import USERS, write_checkerboard
from tests.support.service import Service, wait_for_training, wait_until

QUESTIONS: list[dict[str, Any]] = [
    {"source_id": [f"u{user:02}" for user in range(USERS)], "target_type": ["item"], "max_recommendations": 10},
    {"source_type": ["item"], "target_type": ["user"], "output_format": "csv"},
    {"source_id": ["u03"], "target_type": ["item"], "explain": True},
]


@contextmanager
def again_and_again(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while the block runs; what goes wrong there is raised at its end."""
    ended, errors = threading.Event(), list[BaseException]()

    def go_on() -> None:
        try:
            while not ended.wait(0.5):
                work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert [] == errors


def answers(client: httpx.Client) -> list[bytes]:
    """What the model says that nothing changes during the test, to the byte."""
    asked = ({"model_id": "board", **question} for question in QUESTIONS)
    return [client.post("/recommended_items", json=question).raise_for_status().content for question in asked]


def upload(client: httpx.Client, tags: str, *files: Path) -> list[dict[str, Any]]:
    named = [("files", (file.name, file.read_bytes())) for file in files]
    sent = client.post("/data_batch", files=named, data={"tags": tags, "wait_seconds": "0"})
    batches: list[dict[str, Any]] = sent.raise_for_status().json()
    return batches


def ended(client: httpx.Client) -> list[dict[str, Any]]:
    """All batches once none is being imported any more."""

    def none_runs() -> list[dict[str, Any]]:
        batches: list[dict[str, Any]] = client.get("/data_batch").json()
        return batches if all(batch["status"] != "running" for batch in batches) else []

    found: list[dict[str, Any]] = wait_until(none_runs, 120, "the imports")
    return found


def test_a_service_at_work_is_backed_up_and_restored(
    service: Service, client: httpx.Client, tmp_path: Path, prefect_database: Path
) -> None:
    """While files are imported, a model is trained and answers are read.

    The restored service gives the same bytes to the same key, has the batches and schedules, imports what was waiting,
    and says of the training that it ended.
    """
    files = write_checkerboard(tmp_path / "files")
    upload(client, "board", *files)
    ended(client)
    client.post("/train", json={"model_id": "board", "data_tags": ["board"]}).raise_for_status()
    assert "completed" == wait_for_training(client, "board")["status"]
    said = service.command("schedule", "--model-id", "board", "--train", "--cron", "30 2 * * 1")
    schedules = service.command("schedule", "--model-id", "board")
    before = answers(client)
    with (
        again_and_again(lambda: upload(client, "busy", *files)),
        again_and_again(lambda: answers(client)),
    ):
        client.post("/train", json={"model_id": "busy", "data_tags": ["board"]}).raise_for_status()
        told = service.command("backup", str(tmp_path / "backup"))
        known = [batch["batch_id"] for batch in client.get("/data_batch").json()]
    assert told.startswith(f"backed up to {tmp_path / 'backup'}"), told

    elsewhere = Service(tmp_path / "restored" / "home", prefect_database)
    restored = elsewhere.command("restore", str(tmp_path / "backup"))
    assert restored.startswith(f"restored to {elsewhere.home}"), restored
    try:
        elsewhere.start()
        with elsewhere.client(service.first_key()) as other:
            assert before == answers(other)
            batches = ended(other)
            assert {batch["batch_id"] for batch in batches} <= set(known)
            assert {"completed"} == {batch["status"] for batch in batches}
            assert wait_for_training(other, "busy")["status"] in ("completed", "error")
            assert schedules == elsewhere.command("schedule", "--model-id", "board"), said
            other.post("/train", json={"model_id": "board", "data_tags": ["board"]}).raise_for_status()
            assert 2 == wait_for_training(other, "board")["version"]
    finally:
        elsewhere.stop()


@pytest.mark.parametrize("replace", [[], ["--replace"]])
def test_a_service_is_not_restored_over(service: Service, tmp_path: Path, replace: list[str]) -> None:
    """It has to be stopped first, whatever is asked."""
    service.command("backup", str(tmp_path / "backup"))

    said = service.command("restore", str(tmp_path / "backup"), *replace)

    assert "a service runs on" in said
    assert "lucid down" in said
