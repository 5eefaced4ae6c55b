"""What was asked for gets its flow run in its turn, whatever Prefect is doing, and none is lost or made twice."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lucid.api import jobs
from lucid.api.dry_runs import DryRuns
from lucid.api.jobs import FlowRun, Job
from lucid.api.queue import Queue
from lucid.api.runs import Runs
from lucid.api.training_room import TrainingRoom
from lucid.data.batches import new_batches
from lucid.erasure import requests
from lucid.errors import MachineError, Unavailable
from lucid.health import HealthWarnings
from lucid.schema.training import TrainingRequest
from lucid.service.prefect_api import ERASE_ENTITY, IMPORT_DATA, TRAIN_MODEL
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import run
from tests.support.says import Answer, Says
from tests.support.service import free_port

DEPLOYMENT: Answer = (200, {}, b'{"id":"d","global_concurrency_limit":null}')
LIMITED: Answer = (200, {}, b'{"id":"d","global_concurrency_limit":{"active":true,"limit":2}}')
UNPROTECTED: Answer = (422, {}, b'{"detail":"CSRF protection is disabled."}')
TOKEN: Answer = (200, {}, b'{"token":"t"}')
FORBIDDEN: Answer = (403, {}, b'{"detail":"Invalid CSRF token or client identifier."}')
ONE: Answer = (200, {}, b"1")
NONE: Answer = (200, {}, b"0")
MADE: Answer = (201, {}, b'{"id":"r"}')
BUSY: Answer = (503, {}, b"{}")
RUN = FlowRun("r", "http://ui/runs/flow-run/r")


class Entered:
    """Jobs that are entered, and what becomes of them."""

    def __init__(self, *works: str, note: Callable[[FlowRun], object] = lambda _run: None) -> None:
        self.waiting = list(works)
        self.noted: dict[str, FlowRun] = {}
        self.withdrawn: dict[str, BaseException] = {}
        self._note = note

    def first(self) -> Job | None:
        return self.job(self.waiting[0]) if self.waiting else None

    def job(self, work: str) -> Job:
        def note(made: FlowRun) -> None:
            self._note(made)
            self.noted[work] = made
            self.waiting.remove(work)

        def withdraw(error: BaseException) -> bool:
            self.withdrawn[work] = error
            self.waiting.remove(work)
            return True

        return Job("flow/deployment", {}, work, ["model:m"], note, withdraw)


def begin(
    says: Says, *lanes: Entered, work: str = "w", until: Callable[[], object] = lambda: True, port: int | None = None
) -> FlowRun | None:
    """Begin a job of the last lane on the Prefect server that the test plays, or at another port."""
    url = f"http://127.0.0.1:{port or says.server.server_port}"

    async def use() -> FlowRun | None:
        runs = Runs(Settings(prefect_api_url=url, prefect_ui_url="http://ui"))
        queue = Queue(runs, [lane.first for lane in lanes])
        starting = asyncio.create_task(queue.keep_starting(HealthWarnings()))
        try:
            made = await queue.begin(lanes[-1].job(work))
            while not until():
                await asyncio.sleep(0.01)
            return made
        finally:
            starting.cancel()
            await runs.close()

    return asyncio.run(use())


def test_a_job_is_told_its_flow_run(says: Says) -> None:
    """Noted once, and nothing is withdrawn."""
    entered = Entered("w")
    says.answers = [DEPLOYMENT, UNPROTECTED, MADE]

    assert RUN == begin(says, entered)
    assert ({"w": RUN}, {}, []) == (entered.noted, entered.withdrawn, says.answers)


def test_a_prefect_with_csrf_protection_is_asked_for_a_token(says: Says) -> None:
    """Also for another one, where the first is not known to it any more."""
    says.answers = [DEPLOYMENT, TOKEN, FORBIDDEN, TOKEN, MADE]

    assert RUN == begin(says, Entered("w"))
    assert [] == says.answers


def test_nobody_waits_for_a_busy_prefect(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is answered; the run is made when Prefect is through with others."""
    monkeypatch.setattr("lucid.api.queue.SOON_SECONDS", 0)
    entered = Entered("w")
    says.answers = [BUSY, DEPLOYMENT, UNPROTECTED, BUSY, DEPLOYMENT, MADE]

    assert begin(says, entered, until=lambda: entered.noted) is None
    assert ({"w": RUN}, {}) == (entered.noted, entered.withdrawn)


@pytest.mark.parametrize("answer", [None, (404, {}, b"{}")], ids=["not there", "knows no such deployment"])
def test_what_prefect_cannot_begin_is_withdrawn(
    says: Says, monkeypatch: pytest.MonkeyPatch, answer: Answer | None
) -> None:
    """It may be there a moment later, as when the service starts; after that the call is refused, and told why."""
    monkeypatch.setattr("lucid.api.queue.SOON_SECONDS", 0.3)
    monkeypatch.setattr("lucid.api.queue.AWAY_SECONDS", 0.6)
    says.answers = [answer] * 100 if answer else []
    entered, port = Entered("w"), None if answer else free_port()

    with pytest.raises(Unavailable, match="does not answer"):
        begin(says, entered, port=port)

    assert ({}, ["w"]) == (entered.noted, [*entered.withdrawn])


def test_what_prefect_refuses_is_withdrawn_at_once(says: Says) -> None:
    """Another try would end the same, and the call is told."""
    entered = Entered("w")
    says.answers = [(409, {}, b"{}")]

    with pytest.raises(Unavailable, match="409"):
        begin(says, entered)

    assert "409" in str(entered.withdrawn["w"])


def test_what_was_accepted_is_not_withdrawn(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could be told that Prefect refuses it; it waits until somebody has mended what is wrong."""
    monkeypatch.setattr("lucid.api.queue._PLACE_SECONDS", 0.01)
    accepted = Entered("earlier", "w")
    says.answers = [(403, {}, b"{}"), (403, {}, b"{}"), DEPLOYMENT, UNPROTECTED, MADE, DEPLOYMENT, MADE]

    assert RUN == begin(says, accepted)
    assert ({"earlier": RUN, "w": RUN}, {}) == (accepted.noted, accepted.withdrawn)


def test_a_kind_without_a_place_holds_back_no_other(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect gets no run that it could only keep waiting; once there is a place, it gets that one too."""
    monkeypatch.setattr("lucid.api.queue._PLACE_SECONDS", 0.01)
    full, free = Entered("full"), Entered("w")
    says.answers = [LIMITED, UNPROTECTED, ONE, ONE, DEPLOYMENT, MADE, LIMITED, ONE, NONE, MADE]

    assert RUN == begin(says, full, free, until=lambda: full.noted)
    assert [] == says.answers


def test_a_run_that_could_not_be_noted_is_not_made_twice(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect is asked for the run of the same work, and gives the same one."""
    monkeypatch.setattr("lucid.api.queue._PLACE_SECONDS", 0.01)
    failures = [MachineError("the disk is full")]

    def note(_run: FlowRun) -> None:
        if failures:
            raise failures.pop()

    entered = Entered("w", note=note)
    says.answers = [DEPLOYMENT, UNPROTECTED, MADE, DEPLOYMENT, MADE]

    assert RUN == begin(says, entered)
    assert ["w", "w"] == [json.loads(body)["idempotency_key"] for body in says.heard]


def test_what_waits_stands_in_the_home(tmp_path: Path) -> None:
    """Whoever looks finds the same, in the order in which it was asked for, until its run is noted."""
    settings = Settings(home=tmp_path / "home", training_memory="off")
    catalog = Catalog(settings.home)
    for model_id in "ba":
        run.enter(settings, TrainingRequest(model_id=model_id), "queued")
    run.enter(settings, TrainingRequest(model_id="of-the-command"))
    uploads = [new_batches(["x.csv", "y.csv"], []), new_batches(["z.csv"], [])]
    for batches in uploads:
        ids = [batch.batch_id for batch in batches]
        catalog.batches.enter(batches, {"files": [batch.file_name for batch in batches], "batch_ids": ids})
    catalog.batches.enter(new_batches(["of the command.csv"], []))
    erasures = [requests.enter(settings, [entity]) for entity in "xy"]
    found = []

    for lane in jobs.lanes(settings, TrainingRoom(settings, DryRuns(settings)).next):
        while job := lane():
            found.append((job.deployment, job.work.split()[0]))
            assert job.parameters == (lane() or job).parameters
            job.note(FlowRun("r", "u"))

    assert [
        *((ERASE_ENTITY, name) for name in erasures),
        *((IMPORT_DATA, batches[0].batch_id) for batches in uploads),
        *((TRAIN_MODEL, model_id) for model_id in "ba"),
    ] == found


def test_a_training_tells_its_place_in_the_queue(tmp_path: Path) -> None:
    """As long as it waits; one that is cancelled leaves the queue at once."""
    settings = Settings(home=tmp_path / "home")
    trainings = Catalog(settings.home).trainings
    for model_id in "abc":
        run.enter(settings, TrainingRequest(model_id=model_id), "queued")

    assert ["the next one", "1 before it", "2 before it"] == [
        trainings.get(model_id).status.message.removeprefix("waits for its turn, ") for model_id in "abc"
    ]
    run.cancel(settings, "a")
    assert ("error", "cancelled") == (trainings.get("a").status.status, trainings.get("a").status.message)
    assert "waits for its turn, 1 before it" == trainings.get("c").status.message
