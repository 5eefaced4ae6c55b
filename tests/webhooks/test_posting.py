"""Receivers that mean ill, over real connections: each is given up by one deadline, and little it sends is read."""

import asyncio
import gzip
import itertools
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lucid.errors import CallbackFailed, CallbackRefused
from lucid.schema.fields import utc_now
from lucid.schema.training import ModelStatus
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.webhooks import callbacks
from tests.support.names import names

STATUS = ModelStatus(
    model_id="m", version=3, status="completed", stage="finished", progress=100, start_timestamp=utc_now()
)
SHORT, LONG = 1.0, 20.0
"""Seconds for one call: such that waiting them out costs a test little, and such that none does who is not held."""
MOST_BYTES = 200_000
NOISE = b"\0" * 60_000
BOMB = gzip.compress(bytes(10_000_000))
"""A thousand times larger unpacked; many of them in a row are one gzip file."""
OK = b"HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True)
class Hostile:
    """What a receiver sends, the pause after each piece, and what is said of it; nothing where it got the callback."""

    pieces: Callable[[], Iterator[bytes]]
    pause: float
    said: str = ""
    seconds: float = LONG
    scheme: str = "http"


def by_bytes(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: (data[at : at + 1] for at in range(len(data)))


def endless(first: bytes, then: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([first], itertools.repeat(then))


IN_TIME = f"did not answer within {SHORT:g} s"
CHUNK = b"%x\r\n%s\r\n" % (len(NOISE), NOISE)
HELD = {
    "never answers": Hostile(endless(b"", b""), 0.02, IN_TIME, SHORT),
    "head byte by byte": Hostile(by_bytes(OK + b"X: " + b"x" * 10_000), 0.02, IN_TIME, SHORT),
    "1xx again and again": Hostile(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 0.02, IN_TIME, SHORT),
    "early hints": Hostile(endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"), 0.02, IN_TIME, SHORT),
    "header after header": Hostile(endless(OK, b"X: x\r\n"), 0.02, IN_TIME, SHORT),
    "empty lines before a head": Hostile(endless(b"", b"\r\n"), 0.02, "callback receiver", SHORT),
    "never shakes hands": Hostile(endless(b"", b""), 0.02, IN_TIME, SHORT, "https"),
    "shakes hands byte by byte": Hostile(
        by_bytes(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\0" * 9000), 0.02, IN_TIME, SHORT, "https"
    ),
}
FLOODS = {
    "1xx without end": Hostile(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), 0, "more than 65536 bytes"),
    "headers without end": Hostile(endless(OK, b"X: x\r\n" * 5000), 0, "could not be reached"),
    "one header without end": Hostile(endless(OK + b"X: ", b"x" * 60_000), 0, "could not be reached"),
    "one line without end": Hostile(endless(b"", b"x" * 60_000), 0, "could not be reached"),
    "a status line of its own words": Hostile(
        endless(b"SSH-2.0-" + b"x" * 9000 + b"\r\n\r\n", b""), 0.02, "could not be reached"
    ),
    "switches protocols": Hostile(
        endless(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", NOISE), 0, "could not be reached"
    ),
    "no HTTP": Hostile(endless(b"", NOISE), 0, "could not be reached"),
    "no TLS": Hostile(endless(b"", NOISE), 0, "could not be reached", scheme="https"),
    "an error without end": Hostile(endless(b"HTTP/1.1 500 No\r\n\r\n", NOISE), 0, "answered 500, expected 2xx"),
    "a redirect without end": Hostile(
        endless(b"HTTP/1.1 307 There\r\nLocation: /there\r\n\r\n", NOISE), 0, "answered 307, expected 2xx"
    ),
}
ARRIVED = {
    "100 MB": Hostile(endless(OK + b"Content-Length: 100000000\r\n\r\n", NOISE), 0),
    "a body without end": Hostile(endless(OK + b"\r\n", NOISE), 0),
    "chunks without end": Hostile(endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK), 0),
    "a gzip bomb": Hostile(endless(OK + b"Content-Encoding: gzip\r\n\r\n", BOMB), 0),
    "a bomb in chunks": Hostile(
        endless(
            OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(BOMB), BOMB)
        ),
        0,
    ),
    "a wrong chunk": Hostile(endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"x" * 60_000), 0),
    "a body byte by byte": Hostile(endless(OK + b"\r\n", b"x"), 0.02, seconds=2),
    "a body that never comes": Hostile(endless(OK + b"Content-Length: 5\r\n\r\n", b""), 0.02, seconds=2),
}


class Receiver:
    """Plays one hostile part to whoever connects, and notes what it could send and who ended it."""

    patience_seconds = 15
    """After these it ends by itself, and its caller has been held."""

    def __init__(self, hostile: Hostile) -> None:
        self._hostile = hostile
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"{hostile.scheme}://127.0.0.1:{self._listening.getsockname()[1]}/"
        self.calls, self.sent, self.was_hung_up_on = 0, 0, False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                self.calls += 1
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                self._play(connection)

    def _play(self, connection: socket.socket) -> None:
        ends = time.monotonic() + self.patience_seconds
        try:
            connection.settimeout(self.patience_seconds)
            connection.recv(100_000)
            for piece in self._hostile.pieces():
                rest = memoryview(piece)
                while rest:
                    sent = connection.send(rest)
                    self.sent, rest = self.sent + sent, rest[sent:]
                if _is_closed(connection, self._hostile.pause):
                    self.was_hung_up_on = True
                    return
                if time.monotonic() > ends:
                    return
        except TimeoutError:
            return
        except OSError:
            self.was_hung_up_on = True


def _is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other end closes within so many seconds."""
    connection.settimeout(seconds or 0.0001)
    try:
        return not connection.recv(100_000)
    except TimeoutError:
        return False
    finally:
        connection.settimeout(Receiver.patience_seconds)


def call(settings: Settings, url: str, seconds: float, body: bytes | None = None) -> str:
    """Deliver an event once; what is said of the failure, or nothing."""
    settings = settings.model_copy(update={"callback_allow_private": True, "callback_timeout_seconds": seconds})
    event = callbacks.make_event(STATUS, url)
    try:
        callbacks.deliver(settings, Catalog(settings.home), event if body is None else replace(event, body=body))
    except CallbackFailed as error:
        return error.message
    return ""


@pytest.mark.parametrize("kind", [*HELD, *FLOODS, *ARRIVED])
def test_a_receiver_neither_holds_nor_fills_us(kind: str, settings: Settings) -> None:
    """It is hung up on while it has more to send, little of that was taken in, and its head alone decides."""
    hostile = {**HELD, **FLOODS, **ARRIVED}[kind]
    with Receiver(hostile).running() as receiver:
        tracemalloc.start()
        said = call(settings, receiver.url, hostile.seconds)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert hostile.said in said
    assert bool(hostile.said) == bool(said)
    assert receiver.was_hung_up_on
    assert 1 == receiver.calls
    assert receiver.sent < MOST_BYTES
    assert most < 3_000_000
    assert len(said) < 400


def test_a_receiver_that_reads_slowly_is_given_up(settings: Settings) -> None:
    """A body that fits into no buffer is sent until the deadline, however many bytes a second the receiver takes."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            for _ in range(1000):
                taken.append(connection.recv(1))
                if given_up.wait(0.02):
                    return

    taken: list[bytes] = []
    given_up = threading.Event()
    with serving(serve) as port:
        said = call(settings, f"http://127.0.0.1:{port}/", SHORT, body=bytes(8_000_000))
        given_up.set()

    assert IN_TIME in said
    assert len(taken) < 1000


def test_a_receiver_that_lets_nobody_in_is_given_up(settings: Settings) -> None:
    """Its queue of connections is full, and ours is neither taken nor refused."""
    with socket.socket() as listening, ExitStack() as crowd:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            other = crowd.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listening.getsockname())

        said = call(settings, f"http://127.0.0.1:{listening.getsockname()[1]}/", SHORT)

    assert IN_TIME in said


def test_a_name_that_is_looked_up_for_ever_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for one call counts from the look-up on, and a request does not wait longer for it either."""
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: found.wait(15) and [])

    said = call(settings, "http://receiver.test/", SHORT)
    with pytest.raises(CallbackRefused, match=r"'receiver\.test', which cannot be found"):
        callbacks.check_callback_url("http://receiver.test/", allow_private=True, seconds=SHORT)
    found.set()

    assert IN_TIME in said


def test_a_name_that_is_not_found_when_the_training_ends_is_tried_again(settings: Settings) -> None:
    """It was found when the training was asked for, so it is the network that fails, not the customer."""
    assert "could not be reached: the host cannot be found" in call(settings, "http://nowhere.invalid/", LONG)


def test_what_was_answered_early_counts(settings: Settings) -> None:
    """A receiver may answer and hang up before it has read everything."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1_000_000):
                pass

    with serving(serve) as port:
        assert "answered 413" in call(settings, f"http://127.0.0.1:{port}/", LONG, body=bytes(10_000_000))


def test_a_short_answer_may_be_ended(settings: Settings) -> None:
    """A receiver that sends its body a moment after its head is not hung up on."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(100_000)
            connection.sendall(OK + b"Content-Length: 4000\r\n\r\n")
            for _ in range(4):
                closed.append(_is_closed(connection, 0.05))
                connection.sendall(b"x" * 1000)
            closed.append(_is_closed(connection, 10))

    closed: list[bool] = []
    with serving(serve) as port:
        assert "" == call(settings, f"http://127.0.0.1:{port}/", LONG)

    assert [False, False, False, False, True] == closed


def test_a_callback_goes_straight_to_the_address_of_its_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the name as Host, whatever proxies the environment names, and from within an event loop too."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            heads.append(connection.recv(100_000).decode().partition("\r\n\r\n")[0])
            connection.sendall(b"HTTP/1.1 204 Fine\r\n\r\n")

    async def within_a_loop() -> str:
        return call(settings, f"http://receiver.test:{port}/a%20b?c=d", LONG)

    heads: list[str] = []
    names(monkeypatch, {"receiver.test": ["127.0.0.1"]})
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(serve) as port:
        assert "" == asyncio.run(within_a_loop())

    line, *headers = heads[0].split("\r\n")
    assert "POST /a%20b?c=d HTTP/1.1" == line
    assert f"Host: receiver.test:{port}" in headers
    assert "Content-Type: application/json" in headers


@dataclass(frozen=True)
class Secured:
    """A receiver that speaks TLS, with a certificate for one name."""

    name: str
    folder: Path
    tickets: int = 2

    def context(self) -> ssl.SSLContext:
        """The server's side of TLS; `ca.pem` in the folder is what signed its certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _certify(self.name, self.folder)
        context.load_cert_chain(self.folder / "own.pem", self.folder / "own.key")
        context.num_tickets = self.tickets
        return context

    def answering(self, answer: Callable[[], Iterator[bytes]], asked: list[str | None]) -> "Serve":
        """Plays one connection; notes the name that the caller asked for."""
        context = self.context()
        context.sni_callback = lambda _socket, name, _context: asked.append(name)

        def serve(listening: socket.socket) -> None:
            connection, _ = listening.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(100_000)
                    for piece in answer():
                        secured.sendall(piece)
            except OSError:  # the caller has hung up
                connection.close()

        return serve


def test_the_certificate_is_that_of_the_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for another name, or of an authority that nobody trusts, is refused; one for the name is not."""
    names(monkeypatch, {"receiver.test": ["127.0.0.1"], "receiver.test.": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    serve = Secured("receiver.test", tmp_path).answering
    asked: list[str | None] = []
    said = []
    for host, trusted in (
        ("receiver.test", False),
        ("receiver.test", True),
        ("receiver.test.", True),
        ("other.test", True),
    ):
        if trusted:
            monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "ca.pem"))
        with serving(serve(lambda: iter([b"HTTP/1.1 204 Fine\r\n\r\n"]), asked)) as port:
            said.append(call(settings, f"https://{host}:{port}/", LONG))

    assert ["receiver.test", "receiver.test", "receiver.test", "other.test"] == asked
    assert ["", ""] == said[1:3]
    assert "certificate verify failed" in said[0]
    assert "not valid for 'other.test'" in said[3]


@pytest.mark.parametrize(
    ("tickets", "answer", "expected"),
    [
        (2, endless(OK + b"Content-Encoding: gzip\r\n\r\n", BOMB), ""),
        (2, endless(OK, b"X: x\r\n" * 5000), "could not be reached"),
        (5000, endless(b"", b"\0"), "more than 65536 bytes"),
    ],
)
def test_tls_hides_no_flood(
    tickets: int,
    answer: Callable[[], Iterator[bytes]],
    expected: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor do messages of TLS itself: what is received is counted before it is understood."""
    names(monkeypatch, {"receiver.test": ["127.0.0.1"]})
    serve = Secured("receiver.test", tmp_path, tickets).answering(answer, [])
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "ca.pem"))
    with serving(serve) as port:
        said = call(settings, f"https://receiver.test:{port}/", LONG)

    assert expected in said
    assert bool(expected) == bool(said)


Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """Let a function serve a port until the block and the function have ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


def _certify(name: str, folder: Path) -> None:
    """Make an authority, and a certificate of it for a name."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of the tests")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    for holder, key, extensions, file in (
        (issuer, authority, [x509.BasicConstraints(ca=True, path_length=None)], "ca.pem"),
        (subject, own, [x509.SubjectAlternativeName([x509.DNSName(name)])], "own.pem"),
    ):
        draft = x509.CertificateBuilder(issuer, holder, key.public_key(), x509.random_serial_number())
        draft = draft.not_valid_before(utc_now() - timedelta(days=1)).not_valid_after(utc_now() + timedelta(days=1))
        for extension in extensions:
            draft = draft.add_extension(extension, critical=False)
        (folder / file).write_bytes(draft.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "own.key").write_bytes(
        own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
