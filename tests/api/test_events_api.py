"""Events over real HTTP, with the API alone: taken, refused one by one, soon in answers, and there after a kill."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.api.paths import BASE
from lucid.client import Client
from lucid.data.event_batches import compact_events
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import Api, wait_until

EVENTS, ITEMS = f"{BASE}/events", f"{BASE}/recommended_items"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("board")
    return train_checkerboard(Workspace(folder / "home"), folder)


@pytest.fixture(scope="module")
def api(trained: Workspace) -> Iterator[Api]:
    with Api(trained.settings.home).running() as api:
        yield api


def likes(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"type": "likes", "source_id": source, "target_id": target, **more}


def targets(api: Api, source: str, **more: Any) -> list[str]:
    asked = {"model_id": "board", "source_id": source, "target_type": "item", **more}
    rows = api.own_client.get(ITEMS, params=asked).raise_for_status().json()["recommendations"]
    return [row["target_id"] for row in rows]


def test_one_event_is_taken_and_soon_counts(api: Api) -> None:
    """An object is a call of one; its target does not come back, nor do the others wait for it."""
    target = targets(api, "u00")[0]

    answer = api.own_client.post(EVENTS, json=likes("u00", target, event_id="first"))

    assert 200 == answer.status_code
    assert {"accepted": 1, "duplicates": 0, "rejected": 0, "errors": []} == answer.json()
    wait_until(lambda: target not in targets(api, "u00"), 5, "the event to count")


def test_a_new_entity_is_a_source_at_once(api: Api) -> None:
    """Entity and interactions in one call: whom nobody knew gets what its interactions say."""
    events = [{"id": "newcomer", "type": "user"}, *(likes("newcomer", f"i{item:02}") for item in range(0, 14, 2))]

    assert 8 == api.own_client.post(EVENTS, json=events).json()["accepted"]

    def known() -> bool:
        asked = {"model_id": "board", "source_id": "newcomer", "target_type": "item"}
        return api.own_client.get(ITEMS, params=asked).is_success

    wait_until(known, 5, "the newcomer")
    assert {"i14", "i16", "i18"} <= set(targets(api, "newcomer")[:4])


def test_bad_events_keep_no_good_one_out(api: Api) -> None:
    """Each is told with its place, field and reason; what was sent is what was accepted and what was rejected."""
    events: list[Any] = [
        likes("u01", "i02"),
        likes("u01", ""),
        {**likes("u01", "i02"), "timestamp": "yesterday"},
        {"id": "x", "type": "user", "media_url": "ftp://x"},
        {"id": "x", "source_id": "u01", "type": "likes"},
        {"type": "likes"},
        {**likes("u01", "i02"), "tmestamp": 1},
        "likes",
        {**likes("u01", "i02"), "metadata": "[1]"},
        {**likes("u01", "i02"), "event_id": "e" * 201},
    ]

    answer = api.own_client.post(EVENTS, json=events).json()

    assert (1, 9) == (answer["accepted"], answer["rejected"])
    assert [
        (1, "target_id", "empty_value"),
        (2, "timestamp", "invalid_timestamp"),
        (3, "media_url", "invalid_url"),
        (4, None, "mixed_kinds"),
        (5, None, "missing_column"),
        (6, "tmestamp", "unknown_field"),
        (7, None, "invalid_value"),
        (8, "metadata", "invalid_metadata"),
        (9, "event_id", "invalid_value"),
    ] == [(error["index"], error["column"], error["code"]) for error in answer["errors"]]


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"1", b'"x"', b"null", b"[" + b"{}," * 1000 + b"{}]", b"\xff", b"NaN"]
)
def test_a_call_without_events_is_refused(api: Api, body: bytes) -> None:
    """No JSON, nothing in it, or more than a thousand: a problem, and nothing is stored."""
    before = api.own_client.get(EVENTS).json()

    answer = api.own_client.post(EVENTS, content=body)

    assert (422, "invalid_request") == (answer.status_code, answer.json()["code"])
    assert before == api.own_client.get(EVENTS).json()


def test_what_nobody_sends_harms_nobody(api: Api) -> None:
    """Metadata nested as deeply as JSON is read, numbers beyond any time, names without end: each its own error."""
    deep = (
        b'{"type": "likes", "source_id": "u01", "target_id": "i02", "metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 901
    )
    strange = [
        {**likes("u01", "i02"), "timestamp": 9e300},
        {**likes("u01", "i02"), "x" * 10_000: 1},
        {"id": "\0", "type": "user"},
    ]
    body = b"[" + deep + b"," + json.dumps([*strange, likes("u01", "i02")]).encode()[1:]

    answer = api.own_client.post(EVENTS, content=body)

    assert 200 == answer.status_code
    assert (1, 4) == (answer.json()["accepted"], answer.json()["rejected"])
    assert ["invalid_value", "invalid_timestamp", "unknown_field", "invalid_character"] == [
        error["code"] for error in answer.json()["errors"]
    ]
    assert len(answer.content) < 10_000


def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    assert 413 == api.own_client.post(EVENTS, content=b" " * 10_000_001).status_code


def test_an_id_counts_once(api: Api) -> None:
    """In one call, in another, with other content, at the same time, and after its batch was made."""
    events = [likes("u02", "i03", event_id="once"), likes("u02", "i05", event_id="once")]
    answers = []

    def send() -> None:
        answers.append(api.own_client.post(EVENTS, json=events).json())

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    compact_events(Workspace(api.home).settings, Catalog(api.home))
    send()

    assert [2] * 9 == [answer["accepted"] for answer in answers]
    assert 9 * 2 - 1 == sum(answer["duplicates"] for answer in answers)


def test_the_client_sends_and_looks(api: Api) -> None:
    """In as many calls as it takes; errors have their place among all that was given."""
    events = [likes("u03", "i04") for _ in range(1200)] + [likes("u03", "")]

    with Client(api.base, apikey=api.secret) as client:
        answer, last = client.send_events(events), client.waiting_events(limit=2)

        assert (1200, 0, 1) == (answer.accepted, answer.duplicates, answer.rejected)
        assert [1200] == [error.index for error in answer.errors]
        assert [last[1]] == client.waiting_events(after=last[0].number)
        assert ("u03", "i04") == (last[1].source_id, last[1].target_id)
        assert 1 == client.send_events({"id": "alone", "type": "user"}).accepted


def test_a_key_may_only_do_what_it_is_for(api: Api) -> None:
    with api.client(None) as stranger:
        assert 401 == stranger.post(EVENTS, json=likes("u01", "i02")).status_code
        assert 401 == stranger.get(EVENTS).status_code


def test_what_was_told_survives_a_kill_and_is_not_counted_twice(trained: Workspace, tmp_path: Path) -> None:
    """Clients send and repeat what was not answered while the API is killed -9 again and again."""
    home, confirmed, rounds = tmp_path / "home", set[str](), 4
    Workspace(home)
    unsure: list[dict[str, Any]] = []
    for number in range(rounds):
        with Api(home).running() as api:
            # What was sent before the kill and not answered is sent again.
            for event in unsure:
                api.own_client.post(EVENTS, json=event).raise_for_status()
                confirmed.add(event["event_id"])
            unsure = []
            doomed = threading.Timer(0.3 + 0.1 * number, os.kill, (api.process.pid, signal.SIGKILL))
            doomed.start()
            for place in range(100_000):
                event = likes(f"u{place}", f"i{number}", event_id=f"{number}-{place}")
                try:
                    api.own_client.post(EVENTS, json=event).raise_for_status()
                except httpx.TransportError:
                    unsure.append(event)
                    break
                confirmed.add(event["event_id"])
            doomed.join()
            time.sleep(0.1)
    with Api(home).running() as api:
        for event in unsure:
            api.own_client.post(EVENTS, json=event).raise_for_status()
            confirmed.add(event["event_id"])
        again = api.own_client.post(EVENTS, json=[likes("u", "i", event_id=one) for one in sorted(confirmed)[:900]])
    batches = compact_events(Workspace(home).settings, Catalog(home))

    assert again.json()["duplicates"] == min(len(confirmed), 900)
    assert len(confirmed) > rounds
    assert len(confirmed) == sum(batch.interaction_count for batch in batches)
