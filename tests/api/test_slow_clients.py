"""Clients that stand still, hang up or take their time, over real connections: others are answered, nothing stays."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import duckdb
import pytest

from lucid.api.paths import BASE
from tests.support.hostile import GUESTS, LONG
from tests.support.service import Api, Hasty, wait_until

CROWD = 50
"""Of each kind; more than there are threads for calls."""

ITEMS = f"{BASE}/recommended_items"
ONE = f"{ITEMS}?model_id=board&source_id=u05&target_type=item"
EVERY = "target_type=item,user&exclude_interacted=false&output_format=csv"
LARGE = f"{ITEMS}?model_id=board&source_id={LONG}&{EVERY}"
"""Its answer repeats a very long id and so fits into no buffer."""
ALL = f"{ITEMS}?model_id=board&source_type=guest&{EVERY}&max_recommendations=20"


@pytest.fixture(scope="module")
def home(trained_hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(trained_hostile, tmp_path_factory.mktemp("slow") / "home"))


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[Api]:
    with Api(home).running() as api:
        for path in (ONE, LARGE, ALL):  # what is read once stays open
            api.own_client.get(path).raise_for_status()
        yield api


@pytest.fixture(scope="module")
def hasty(home: Path) -> Iterator[Api]:
    with Api(home, Hasty).running() as api:
        yield api


Stands = Callable[[Api], socket.socket]


def silent(api: Api) -> socket.socket:
    return api.connect()


def in_the_head(api: Api) -> socket.socket:
    return api.connect(api.head(f"GET {ONE}")[:-3])


def in_the_body(api: Api) -> socket.socket:
    headers = ("Content-Type: application/json", "Content-Length: 1000")
    return api.connect(api.head(f"POST {ITEMS}", *headers) + b'{"model_id":')


def in_an_upload(api: Api) -> socket.socket:
    headers = ("Content-Type: multipart/form-data; boundary=b", "Content-Length: 1000000")
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\nid,type'
    return api.connect(api.head(f"POST {BASE}/data_batch", *headers) + part)


def in_a_refused_body(api: Api) -> socket.socket:
    connection = api.connect(api.head(f"POST {BASE}/nowhere", "Content-Length: 1000000"))
    assert connection.recv(100_000).startswith(b"HTTP/1.1 404")
    return connection


def in_the_answer(api: Api) -> socket.socket:
    return api.connect(api.head(f"GET {LARGE}"), receive_bytes=4096)


def after_an_answer(api: Api) -> socket.socket:
    connection = api.connect(api.head(f"GET {ONE}"))
    assert connection.recv(100_000).startswith(b"HTTP/1.1 200")
    return connection


KINDS = (silent, in_the_head, in_the_body, in_an_upload, in_a_refused_body, in_the_answer, after_an_answer)


def held(api: Api) -> int:
    return api.process.num_fds()


def holds(api: Api, connection: socket.socket) -> bool:
    """Whether the service has not closed its end of a connection."""
    ours = connection.getsockname()
    return any(ours == one.raddr for one in api.process.net_connections("tcp"))


def left(api: Api) -> list[Path]:
    return list((api.home / "uploads").glob("*"))


def test_slow_clients_hold_nobody_up(api: Api) -> None:
    """While hundreds stand in a request or an answer and go on byte by byte, others do not wait for them."""
    before = held(api)
    with ExitStack() as crowd:
        sending = [
            crowd.enter_context(kind(api)) for kind in (in_the_head, in_the_body, in_an_upload) for _ in range(CROWD)
        ]
        reading = [crowd.enter_context(in_the_answer(api)) for _ in range(CROWD)]

        for _ in range(10):
            for connection in sending:
                connection.sendall(b" ")
            for connection in reading:
                assert 1 == len(connection.recv(1))
            assert 200 == api.own_client.get(ONE).status_code
            assert 200 == api.own_client.get(f"{BASE}/data_batch").status_code

        assert before + 4 * CROWD <= held(api)
    wait_until(lambda: held(api) <= before, 30, "files and connections to be closed")
    wait_until(lambda: not left(api), 30, "what came in to be removed")


def test_who_hangs_up_in_the_middle_of_an_answer_leaves_nothing(api: Api) -> None:
    """No file, no connection, no thread, no work on the rest of the answer."""

    def round_of_hang_ups() -> tuple[int, int]:
        for _ in range(5):
            with api.connect(api.head(f"GET {ALL}"), receive_bytes=4096) as connection:
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        wait_until(lambda: api.process.cpu_percent(0.1) < 20, 20, "the work to end")
        return held(api), api.process.num_threads()

    whole = api.own_client.get(ALL)
    assert GUESTS < whole.text.count("\n")
    first, second = round_of_hang_ups(), round_of_hang_ups()

    assert second[0] <= first[0]
    assert second[1] < first[1] + 5
    assert whole.content == api.own_client.get(ALL).content
    assert "Traceback" not in api.log.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_who_stands_still_is_given_up(hasty: Api, kind: Stands) -> None:
    """In every part of a call; the connection is closed, and nothing of it stays."""
    with kind(hasty) as connection:
        wait_until(lambda: holds(hasty, connection), 30, "the connection")
        wait_until(lambda: not holds(hasty, connection), 30, "the service to give up")
        assert is_closed(connection)
    wait_until(lambda: not left(hasty), 30, "uploads to be removed")


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed; reads what it sent before."""
    connection.settimeout(0.01)
    try:
        while connection.recv(1_000_000):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize("kind", [silent, in_the_head, in_a_refused_body])
def test_a_head_byte_by_byte_takes_too_long(hasty: Api, kind: Stands) -> None:
    """Before a call has begun nobody has shown a key, so going on slowly does not help."""
    line = iter(b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000)
    with kind(hasty) as connection:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not is_closed(connection):
            with suppress(ConnectionError):
                connection.sendall(bytes([next(line)]))
            time.sleep(0.05)
        assert is_closed(connection)


def test_who_goes_on_slowly_is_served(hasty: Api) -> None:
    """A body sent and an answer read in small pieces take longer than the patience, but never stand still."""
    body = b'{"model_id":"board","source_id":"u05","target_type":"item"}'
    headers = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close")
    with hasty.connect(hasty.head(f"POST {ITEMS}", *headers)) as connection:
        for start in range(0, len(body), 4):
            connection.sendall(body[start : start + 4])
            time.sleep(0.1)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")

    expected = hasty.own_client.get(LARGE).content
    with hasty.connect(hasty.head(f"GET {LARGE}", "Connection: close"), receive_bytes=4096) as connection:
        received = b""
        while piece := connection.recv(10_000):
            received += piece
            time.sleep(0.01)
    assert len(expected) < len(received)
    assert received.endswith(b"\n\r\n0\r\n\r\n")


def test_who_waits_for_the_service_is_not_given_up(hasty: Api) -> None:
    """While another process holds the catalog, a call waits for it, and is answered."""
    with duckdb.connect(str(hasty.home / "catalog.duckdb")):
        connection = hasty.connect(hasty.head(f"GET {BASE}/models", "Connection: close"))
        time.sleep(4 * Hasty.patience_seconds)
    with connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
