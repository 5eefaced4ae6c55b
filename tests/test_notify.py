"""Callbacks: signed, retried, and never sent where the settings forbid it."""

import gzip
import http.server
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from lucid import notify
from lucid.catalog import Catalog
from lucid.demo.receiver import Receiver
from lucid.errors import CallbackFailed, CallbackRefused
from lucid.schema import ModelStatus, utc_now
from lucid.settings import Settings

STATUS = ModelStatus(
    model_id="m", version=3, status="completed", stage="finished", progress=100, start_timestamp=utc_now()
)


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"callback_allow_private": True, "callback_secret": "s3cret"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver("s3cret").running() as running:
        yield running


def deliveries(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.home / "catalog.duckdb"), read_only=True) as connection:
        return connection.execute("SELECT event, attempts, delivered FROM deliveries").fetchall()


def test_a_callback_carries_the_status_and_a_signature(open_settings: Settings, receiver: Receiver) -> None:
    """The receiver finds the status object, the event, and a signature that belongs to the body."""
    event = notify.make_event(STATUS, receiver.url)

    notify.deliver(open_settings, Catalog(open_settings.home), event)

    body = receiver.events.get(timeout=5)
    assert ("m", 3, "completed") == (body["model_id"], body["version"], body["status"])
    assert ("training.completed", event.event_id) == (body["event"], body["event_id"])
    assert [("training.completed", 1, True)] == deliveries(open_settings)


def test_a_signature_fits_one_body_one_secret_and_five_minutes() -> None:
    """Changed bodies, other secrets and old calls are told apart."""
    header = notify.sign("secret", b"body", 1_000)

    assert notify.verify("secret", b"body", header, now=1_300)
    assert not notify.verify("secret", b"b0dy", header, now=1_000)
    assert not notify.verify("other", b"body", header, now=1_000)
    assert not notify.verify("secret", b"body", header, now=1_301)
    for nonsense in ("", "nonsense", "t=,v1=", "t=1000,v1=ü", "t=١٠٠٠,v1=0"):
        assert not notify.verify("secret", b"body", nonsense, now=1_000)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest",
        "http://0.0.0.0/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://[::127.0.0.1]/x",
        "http://224.0.0.1/x",
    ],
)
def test_private_targets_are_refused_unless_allowed(url: str) -> None:
    """Loopback, private and link-local addresses are refused however they are written."""
    with pytest.raises(CallbackRefused, match="not a public address"):
        notify.check_callback_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "/path",
        "http://",
        "http://user:pass@127.0.0.1/",
        "http://[bad/",
        "http://a..b/",
        "http://127.0.0.1/\x01",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """Only http(s) with a host and without credentials."""
    with pytest.raises(CallbackRefused):
        notify.check_callback_url(url, allow_private=True)


def test_a_failing_receiver_is_tried_again(open_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two 500s the third attempt arrives; the catalog counts all three."""
    monkeypatch.setattr(notify, "RETRY_SECONDS", [0.01, 0.01, 0.01])
    answers = [500, 503, 204]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        event = notify.make_event(STATUS, f"http://127.0.0.1:{server.server_port}/")
        arrived = notify.deliver_patiently(open_settings, Catalog(open_settings.home), event)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert arrived
    assert [("training.completed", 3, True)] == deliveries(open_settings)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(settings: Settings) -> None:
    """Without a secret in the settings, one is kept in the home."""
    settings.home.mkdir()

    first, second = notify.callback_secret(settings), notify.callback_secret(settings)

    assert first == second
    assert 64 == len(first)
    assert 0o600 == Path(settings.home / "callback_secret").stat().st_mode & 0o777


@pytest.mark.parametrize("port", [0, 1, 22, 25, 79, 81, 442, 444, 993, 1023])
def test_ports_of_other_services_are_refused_unless_allowed(port: int) -> None:
    """What is named in the settings passes."""
    url = f"http://8.8.8.8:{port}/"

    with pytest.raises(CallbackRefused, match=f"the port {port}; allowed are 80, 443 and from 1024 on"):
        notify.check_callback_url(url, allow_private=False)
    assert "8.8.8.8" == notify.check_callback_url(url, allow_private=False, allow_ports=[port])


@pytest.mark.parametrize("port", ["", ":80", ":443", ":1024", ":8000", ":65535"])
def test_ports_of_receivers_are_allowed(port: str) -> None:
    """Those of web servers, and all that any user may open."""
    assert "8.8.8.8" == notify.check_callback_url(f"http://8.8.8.8{port}/", allow_private=False)


def test_allowed_ports_are_read_from_a_list() -> None:
    """And reach the parts of the service as they were given."""
    settings = Settings(callback_allow_ports="25, 26")

    assert [25, 26] == settings.callback_ports
    assert settings == Settings.model_validate(settings.model_dump(mode="json"))


def test_every_address_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address and to a private one is refused."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(CallbackRefused, match=r"leads to 10\.0\.0\.1"):
        notify.check_callback_url("http://two.example/", allow_private=False)


def test_a_name_server_that_is_silent_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up is given up when the time is over."""
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(30) and [])

    with pytest.raises(CallbackRefused, match="cannot be found"):
        notify.check_callback_url("http://slow.example/", allow_private=False, seconds=0.2)
    done.set()


HEAD = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(50_000_000))


@dataclass(frozen=True)
class Hostile:
    """A receiver that sends a piece, then another one again and again with a pause, and at last stands still."""

    first: bytes = b""
    again: bytes = b""
    pause: float = 0.0
    times: int = 1_000_000_000
    still_seconds: float = 5.0
    reads: bool = True

    def meet(self, connection: socket.socket) -> None:
        if self.reads:
            connection.recv(100)
        connection.sendall(self.first)
        for _ in range(self.times if self.again else 0):
            connection.sendall(self.again)
            time.sleep(self.pause)
        time.sleep(self.still_seconds)


CONTINUE = b"HTTP/1.1 102 Processing\r\n\r\n"
FAILING = {
    "silent": Hostile(),
    "head letter by letter": Hostile(b"HTTP/1.1 200 OK\r\nx: ", b"y", 0.05),
    "endless 1xx answers": Hostile(again=CONTINUE),
    "slow 1xx answers": Hostile(again=CONTINUE, pause=0.05),
    "endless headers": Hostile(HEAD, b"x: y\r\n"),
    "a line without end": Hostile(again=b"x" * 1000),
    "not HTTP": Hostile(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "hangs up": Hostile(still_seconds=0),
    "reads nothing": Hostile(reads=False),
    "error": Hostile(b"HTTP/1.1 500 No\r\n\r\n"),
    "redirect": Hostile(b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
}
SUCCEEDING = {
    "endless body": Hostile(HEAD + b"\r\n", b"x" * 65536),
    "slow body": Hostile(HEAD + b"\r\n", b"x", 0.05),
    "gzip bomb": Hostile(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "body that never comes": Hostile(HEAD + b"Content-Length: 1000\r\n\r\n"),
    "one 1xx answer": Hostile(CONTINUE + HEAD + b"\r\n"),
}
"""Those whose status says that they have got the event."""


@contextmanager
def running(receiver: Hostile) -> Iterator[str]:
    """The URL of a receiver."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=meet, args=(connection,), daemon=True).start()

        def meet(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                receiver.meet(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def call(settings: Settings, url: str, status: ModelStatus = STATUS) -> None:
    notify.deliver(settings, Catalog(settings.home), notify.make_event(status, url))


@pytest.mark.parametrize("behaviour", FAILING)
def test_a_hostile_receiver_is_given_up_in_time(open_settings: Settings, behaviour: str) -> None:
    """One deadline for all of a call, and no more than some kilobytes of the answer; the outcome is recorded."""
    hasty = open_settings.model_copy(update={"callback_timeout_seconds": 0.5})
    large = STATUS.model_copy(update={"message": "x" * 20_000_000}) if behaviour == "reads nothing" else STATUS
    with (
        running(FAILING[behaviour]) as url,
        pytest.raises(CallbackFailed, match=r"the callback receiver at 127\.0\.0\.1"),
    ):
        call(hasty, url, large)

    assert [("training.completed", 1, False)] == deliveries(open_settings)


@pytest.mark.parametrize("behaviour", SUCCEEDING)
def test_the_rest_of_an_answer_is_not_read(open_settings: Settings, behaviour: str) -> None:
    """What counts is the status; the body is neither waited for, kept nor unpacked."""
    patient = open_settings.model_copy(update={"callback_timeout_seconds": 60})
    tracemalloc.start()
    try:
        with running(SUCCEEDING[behaviour]) as url:
            call(patient, url)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000
    assert [("training.completed", 1, True)] == deliveries(open_settings)
