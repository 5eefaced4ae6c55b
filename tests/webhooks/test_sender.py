"""What a sweep owes to customers arrives, though the sweep waits for nobody and its process may end at any time."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from lucid.demo.receiver import Receiver
from lucid.schema.fields import utc_now
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.store.tables.database import Database
from lucid.training import run
from lucid.webhooks import callbacks
from lucid.webhooks.sender import Sender
from tests.support.says import Says
from tests.support.service import wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", callback_allow_private=True, callback_secret="s3cret")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver("s3cret").running() as running:
        yield running


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a receiver that takes every call and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def leave_dead(settings: Settings, model_id: str, url: str) -> None:
    """A training whose process is gone, and whose customer waits at a URL."""
    run.enter(settings, TrainingRequest(model_id=model_id, callback_url=url), "fit")


def sweep(settings: Settings) -> None:
    run.sweep(settings, is_lost=lambda _run, _entered: False)


def rows(settings: Settings, columns: str) -> list[tuple[object, ...]]:
    with Catalog(settings.home)._database.reading() as connection:  # in turn with the threads that send
        return connection.execute(f"SELECT {columns} FROM deliveries ORDER BY model_id").fetchall()


def nothing_is_owed(settings: Settings) -> bool:
    return Catalog(settings.home).deliveries.next_due() is None


def test_a_sweep_ends_all_that_is_dead_and_calls_nobody(settings: Settings, silent: str) -> None:
    """What it owes is recorded with each end; nothing was tried, nothing is lost when this process ends now."""
    for model_id in "ab":
        leave_dead(settings, model_id, silent)

    sweep(settings)

    assert ["error"] * 2 == [Catalog(settings.home).trainings.get(model_id).status.status for model_id in "ab"]
    assert [("training.error", silent, 0, False)] * 2 == rows(settings, "event, url, attempts, delivered")
    assert not nothing_is_owed(settings)


def test_what_a_process_owed_the_next_one_sends_once(settings: Settings, receiver: Receiver) -> None:
    """The process that swept is gone; then two senders share the work, and each event arrives once, with its status."""
    for model_id in "abcd":
        leave_dead(settings, model_id, receiver.url)
    program = f"""
from pathlib import Path
from lucid.training import run
from lucid.settings import Settings
run.sweep(Settings(home=Path({str(settings.home)!r})), is_lost=lambda _run, _entered: False)
"""
    subprocess.run([sys.executable, "-c", program], check=True)

    for sender in (Sender(settings), Sender(settings)):
        sender.send()
    wait_until(lambda: nothing_is_owed(settings), 30, "all events to be sent")

    events = [receiver.events.get(timeout=5) for _ in "abcd"]
    assert [*"abcd"] == sorted(event["model_id"] for event in events)
    assert {("training.error", "error")} == {(event["event"], event["status"]) for event in events}
    assert [(event_id, 1, True, None, None) for (event_id,) in rows(settings, "event_id")] == rows(
        settings, "event_id, attempts, delivered, body, due"
    )
    assert receiver.events.empty()


def test_an_owed_event_is_tried_until_it_arrives_or_was_tried_often_enough(
    settings: Settings, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every attempt carries the same event; after the last one it is given up and its text is gone."""
    monkeypatch.setattr(callbacks, "PAUSES", [0.01, 0.01, 0.01])
    url = f"http://127.0.0.1:{says.server.server_port}/"
    says.answers = [(500, {}, b""), (503, {}, b""), (204, {}, b"")]
    leave_dead(settings, "arrives", url)
    sweep(settings)
    Sender(settings).send()
    wait_until(lambda: nothing_is_owed(settings), 30, "the event to arrive")
    assert [(3, True, None)] == rows(settings, "attempts, delivered, body")

    says.answers = [(500, {}, b"")] * 9
    leave_dead(settings, "never", url)
    sweep(settings)
    Sender(settings).send()
    wait_until(lambda: nothing_is_owed(settings), 30, "the event to be given up")

    assert [(3, True, None), (4, False, None)] == rows(settings, "attempts, delivered, body")


def test_a_refused_target_is_not_tried_again(settings: Settings, receiver: Receiver) -> None:
    """Where the settings do not allow the address, one attempt says so."""
    closed = settings.model_copy(update={"callback_allow_private": False})
    leave_dead(closed, "m", receiver.url)
    sweep(closed)
    Sender(closed).send()
    wait_until(lambda: nothing_is_owed(closed), 30, "the event to be given up")

    ((attempts, delivered, message),) = rows(settings, "attempts, delivered, message")
    assert (1, False) == (attempts, delivered)
    assert "not a public address" in str(message)


def test_whatever_an_attempt_meets_counts_as_one(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody expected ends neither the sender nor the tries before their number is reached."""
    monkeypatch.setattr(callbacks, "PAUSES", [0.01, 0.01])
    monkeypatch.setattr(callbacks, "callback_secret", lambda _settings: 1 / 0)
    leave_dead(settings, "m", receiver.url)
    sweep(settings)
    Sender(settings).send()
    wait_until(lambda: nothing_is_owed(settings), 30, "the event to be given up")

    assert [(3, False, "ZeroDivisionError: division by zero")] == rows(settings, "attempts, delivered, message")


def test_one_event_is_taken_by_one_sender_until_its_time_is_over(settings: Settings) -> None:
    """Many who ask at once share the events among them; what was taken and not sent comes again, and nothing before."""
    for model_id in "abcde":
        leave_dead(settings, model_id, "http://example.org/")
    sweep(settings)
    catalog, now = Catalog(settings.home), utc_now()
    taken: list[str] = []

    def take() -> None:
        while found := catalog.deliveries.claim(now, now.replace(year=now.year + 1), 1):
            taken.extend(owed.event_id for owed in found)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 5 == len(taken) == len(set(taken))
    assert [] == catalog.deliveries.claim(now, now, 10)
    again = catalog.deliveries.claim(now.replace(year=now.year + 1), now, 20)
    assert sorted(taken) == sorted(owed.event_id for owed in again)


def test_a_silent_receiver_keeps_no_process_from_ending(settings: Settings, silent: str) -> None:
    """A command that swept ends by itself while the call it began still waits; the event is owed to the next."""
    leave_dead(settings, "m", silent)
    program = f"""
from pathlib import Path
from lucid.settings import Settings
from lucid.workspace import Workspace
settings = Settings(home=Path({str(settings.home)!r}), callback_allow_private=True, callback_timeout_seconds=3600)
print(Workspace(settings=settings).status("m").status)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert ("error\n", "") == (ended.stdout, ended.stderr)
    assert not nothing_is_owed(settings)


def test_an_event_forgets_an_erased_entity(settings: Settings) -> None:
    """A message that names it is blanked, in the event that waits too; the rest of the event stays."""
    catalog = Catalog(settings.home)
    run.enter(settings, TrainingRequest(model_id="m"), "fit")
    catalog.trainings.end(
        "m",
        1,
        "error",
        "nothing of Zoe is left",
        utc_now(),
        lambda status: callbacks.make_event(status, "http://a.org/"),
    )

    catalog.blank(lambda text: "Zoe" in text)

    ((body,),) = rows(settings, "body")
    assert ("erased", "m", "training.error") == tuple(
        json.loads(str(body))[key] for key in ("message", "model_id", "event")
    )
    assert b"Zoe" not in catalog.path.read_bytes()


def test_a_catalog_of_an_earlier_release_owes_nothing_and_takes_events(settings: Settings) -> None:
    """Its deliveries keep what they say; the columns that it lacks are added."""
    settings.home.mkdir()
    with duckdb.connect(str(Home(settings.home).catalog)) as connection:
        connection.execute(
            "CREATE TABLE deliveries (event_id VARCHAR, model_id VARCHAR, version INTEGER, event VARCHAR, url VARCHAR, "
            "attempts INTEGER, delivered BOOLEAN, message VARCHAR, updated TIMESTAMPTZ)"
        )
        connection.execute("INSERT INTO deliveries VALUES ('e', 'a', 1, 'training.error', 'u', 6, false, 'no', now())")
    Database._ready.discard(Home(settings.home).catalog)
    assert nothing_is_owed(settings)

    leave_dead(settings, "b", "http://example.org/")
    sweep(settings)

    assert [("a", 6, False), ("b", 0, True)] == rows(settings, "model_id, attempts, due IS NOT NULL")


def test_deleting_a_model_loses_no_event_that_is_owed(settings: Settings, receiver: Receiver) -> None:
    """Its customer waits all the same."""
    leave_dead(settings, "m", receiver.url)
    sweep(settings)
    Catalog(settings.home).trainings.forget_model("m")

    Sender(settings).send()

    assert "m" == receiver.events.get(timeout=30)["model_id"]
