"""The client and a service that is busy, far away or broken: a small server says what such a service says."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lucid import Client
from lucid.errors import InvalidRequest, ModelNotReady, Unavailable, UnusableFile, error_of
from tests.support.relay import Relay
from tests.support.says import Says

_BUSY = b'{"status":503,"code":"unavailable","detail":"busy; try again"}'


@pytest.fixture
def client(says: Says) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{says.server.server_port}", apikey="key") as client:
        yield client


@pytest.mark.parametrize("status", [429, 503])
def test_a_call_is_repeated_when_the_service_says_so(says: Says, client: Client, status: int) -> None:
    """Not earlier than Retry-After asks, and after that the answer counts."""
    says.answers = [(status, {"Retry-After": "1"}, _BUSY), (200, {}, b"[]")]

    assert [] == client.models()
    first, second = says.asked
    assert 1 <= second - first < 3


def test_patience_ends(says: Says, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stays busy is an error with its own words."""
    monkeypatch.setattr("lucid.client.PATIENCE_SECONDS", 0.5)
    says.answers = [(503, {"Retry-After": "1"}, _BUSY)] * 3

    with pytest.raises(Unavailable, match="busy; try again"):
        client.models()


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[]", b'{"detail":"no"}'])
def test_an_answer_that_is_not_ours_is_unavailability(says: Says, client: Client, body: bytes) -> None:
    """What a proxy says in our place is told with address and status."""
    says.answers = [(502, {}, body)]

    with pytest.raises(Unavailable, match="answered 502"):
        client.models()


def test_an_import_that_takes_long_is_waited_for(says: Says, client: Client, tmp_path: Path) -> None:
    """It is looked at until it has ended; where it ends in error its batches are deleted and the file is unusable."""
    file = tmp_path / "a.csv"
    file.touch()
    says.answers = [(202, {}, batch("running")), (200, {}, batch("running")), (200, {}, batch("completed"))]
    steps: list[float] = []

    assert ["completed"] == [
        found.status for found in client.import_files(file, progress=lambda at, _: steps.append(at))
    ]

    assert [0, 50, 50, 100] == steps
    says.answers = [(202, {}, batch("running")), (200, {}, batch("error")), (200, {}, batch("error"))]
    with pytest.raises(UnusableFile, match="no good"):
        client.import_files(file)
    assert [] == says.answers


def batch(status: str) -> bytes:
    made = {"batch_id": "b", "timestamp": "2026-01-01T00:00:00Z", "tags": [], "file_name": "a.csv"}
    return json.dumps([{**made, "status": status, "message": "no good"}]).encode()


def test_a_broken_off_answer_is_no_answer(says: Says, client: Client) -> None:
    """A table that ends early is an error, not a shorter table."""
    header = b"source_id,target_id,score,rank,probability,target_type,name,served_by\n"
    says.answers = [(200, {"Content-Length": "9999"}, header + b"a,b,1.5,1,t,n\n")]

    with pytest.raises(Unavailable, match="broke off"):
        client.recommend("m", source_type="user", target_type="item")


def test_a_wrong_question_is_refused_before_it_is_sent(says: Says, client: Client) -> None:
    """The same check as in the workspace."""
    with pytest.raises(InvalidRequest, match="one of source_id, source_type and sources"):
        client.recommend("m", source_id="a", source_type="user", target_type="item")

    assert [] == says.asked


def test_a_model_that_is_not_ready_is_named(says: Says, client: Client) -> None:
    """The error knows its model, as it does without a server."""
    says.answers = [(409, {}, b'{"code":"model_not_ready","detail":"not yet","training":{"model_id":"m"}}')]

    with pytest.raises(ModelNotReady, match="not yet") as raised:
        client.recommend("m", source_id="a", target_type="item")
    assert "m" == raised.value.model_id


def test_codes_of_files_and_unknown_codes_become_errors_too() -> None:
    """A code keeps its meaning and its name; one from a newer service is a LucidError all the same."""
    assert (UnusableFile, "no_rows") == (type(error_of("no_rows", "x")), error_of("no_rows", "x").code)
    assert "from_the_future" == error_of("from_the_future", "x").code


@pytest.mark.parametrize("lost", [1, 2])
def test_a_broken_connection_is_tried_again_where_nothing_can_happen_twice(says: Says, lost: int) -> None:
    """A call that reads is repeated until its answer arrives."""
    says.answers = [(200, {}, b"[]")] * (lost + 1)

    with Relay(says.server.server_port, lost).running() as relay, client_of(relay.port) as client:
        assert [] == client.models()

    assert lost + 1 == len(says.asked)


def test_a_broken_connection_is_an_error_where_something_could_happen_twice(says: Says) -> None:
    """A call that deletes or changes is sent once, and so is a question that is sent as POST."""
    says.answers = [(200, {}, b"[]")] * 4
    with Relay(says.server.server_port, lost=4).running() as relay, client_of(relay.port) as client:
        for call in (
            lambda: client.delete_batches(tags=["a"]),
            lambda: client.delete_model("m"),
            lambda: client.roll_back("m"),
            lambda: client.recommend("m", source_type="user", target_type="item"),
        ):
            with pytest.raises(Unavailable, match="does not answer"):
                call()

    assert 4 == len(says.asked)


def test_a_service_that_never_answers_is_given_up(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience with broken connections ends too."""
    monkeypatch.setattr("lucid.client.PATIENCE_SECONDS", 0.5)
    says.answers = [(200, {}, b"[]")] * 9

    with (
        Relay(says.server.server_port, lost=9).running() as relay,
        client_of(relay.port) as client,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        client.models()
    assert 2 == len(says.asked)


def test_a_service_that_starts_again_is_waited_for(says: Says) -> None:
    """A refused connection is tried again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    relay = Relay(says.server.server_port, lost=0, port=port)
    starting = threading.Timer(0.5, relay.start)
    says.answers = [(200, {}, b"[]")]

    starting.start()
    with client_of(port) as client:
        assert [] == client.models()
    starting.join()
    relay.stop()


def client_of(port: int) -> Client:
    return Client(f"http://127.0.0.1:{port}", apikey="key")
