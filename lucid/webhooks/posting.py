"""One POST to a receiver that may mean ill: it can neither hold the caller nor fill it.

Over name look-up, connecting, TLS, sending and the head of the answer stands one deadline, which an HTTP client with
a timeout for each operation does not have; so this is written on sockets, and h11 says what the bytes mean. What
counts of the answer is its status. Its body is not decoded, little of it is read, and redirects and proxies are no
part of this.
"""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import h11
import httpx

from lucid.errors import CallbackFailed

_T = TypeVar("_T")
_PIECE_BYTES = 4096
_BODY_BYTES = 4096
"""How much of an answer's body is awaited: a receiver that is hung up on within a short one would log an error."""
_ALL_BYTES = 64 * 1024
"""The most that is received on a connection, certificates and all."""
_KERNEL_BYTES = 32 * 1024
"""What may lie unread at the system's; it would take in megabytes."""
_REASON_LENGTH = 200
"""Where a reason is cut: it may quote what the receiver sent."""


@dataclass(frozen=True)
class Deadline:
    """The moment, on the monotonic clock, by which all is over, and the seconds that were given for it."""

    at: float
    seconds: float

    @classmethod
    def within(cls, seconds: float) -> "Deadline":
        """The deadline that is so many seconds away."""
        return cls(time.monotonic() + seconds, seconds)

    def left(self) -> float:
        """Seconds until then, more than 0; raises TimeoutError where there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def look_up(host: str, deadline: Deadline) -> list[str]:
    """The addresses of a host.

    Raises OSError where it cannot be found, TimeoutError where that takes too long. The system's resolver knows no
    deadline, so it is asked in a thread, which is left behind then and ends with the resolver's own patience.
    """
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answers.put([str(entry[4][0]) for entry in found])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name=f"look up {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise OSError(f"the host cannot be found: {answer}") from answer
    return answer


def post(url: httpx.URL, address: str, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> int:
    """POST a body to an address as the host of a URL, and return the status of the answer.

    Raises CallbackFailed where there is none by the deadline.
    """
    host = url.raw_host.decode()
    try:
        with _connect(address, port_of(url), deadline) as connection:
            line: _Line = _PlainLine(connection, deadline)
            if url.scheme == "https":
                line = _TlsLine(line, _tls_context(), host.rstrip("."))
            return _ask(line, url, headers, body)
    except (OSError, ValueError, h11.ProtocolError) as error:  # ValueError: a host that TLS cannot name
        raise not_reached(host, error, deadline) from error


def _tls_context() -> ssl.SSLContext:
    """Trusts the authorities that httpx brings with it, whatever the environment names."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


def port_of(url: httpx.URL) -> int:
    """The port of an http(s) URL."""
    return url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]


def not_reached(host: str, error: Exception, deadline: Deadline) -> CallbackFailed:
    """What is said of a receiver that could not be called; a receiver's own words are cut short."""
    if isinstance(error, TimeoutError):
        return CallbackFailed(f"the callback receiver at {host} did not answer within {deadline.seconds:g} s")
    return CallbackFailed(f"the callback receiver at {host} could not be reached: {str(error)[:_REASON_LENGTH]}")


class _Line(Protocol):
    def send(self, data: bytes) -> None:
        """Send all of it."""

    def receive(self) -> bytes:
        """The next bytes, at least one; raises OSError where no more come."""


class _PlainLine:
    """A connection on which everything is over by the deadline, and that takes in only so much."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection, self._deadline = connection, deadline
        self._left = _ALL_BYTES

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._connection.settimeout(self._deadline.left())
            rest = rest[self._connection.send(rest) :]

    def receive(self) -> bytes:
        self._connection.settimeout(self._deadline.left())
        received = self._connection.recv(_PIECE_BYTES)
        if not received:
            raise OSError("it hung up before it had answered")
        self._left -= len(received)
        if self._left < 0:
            raise OSError(f"it sent more than {_ALL_BYTES} bytes without an answer")
        return received


class _TlsLine:
    """TLS over a line; the bytes pass through our hands, so that a handshake too keeps to deadline and size."""

    def __init__(self, line: _Line, context: ssl.SSLContext, host: str) -> None:
        self._line = line
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._finish(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._finish(partial(self._tls.write, rest[:_PIECE_BYTES])) :]

    def receive(self) -> bytes:
        received = self._finish(partial(self._tls.read, _PIECE_BYTES))
        if not received:
            raise OSError("it hung up before it had answered")
        return received

    def _finish(self, act: Callable[[], _T]) -> _T:
        """Do something that may have to wait for the other end."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._line.send(self._outgoing.read())
                self._incoming.write(self._line.receive())
            else:
                self._line.send(self._outgoing.read())
                return done


def _connect(address: str, port: int, deadline: Deadline) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        connection.settimeout(deadline.left())
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(line: _Line, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> int:
    http = h11.Connection(h11.CLIENT)
    head = {"Host": url.netloc.decode(), "Content-Length": str(len(body)), "Connection": "close", **headers}
    request = h11.Request(method="POST", target=url.raw_path, headers=list(head.items()))
    parts = [http.send(part) or b"" for part in (request, h11.Data(data=body), h11.EndOfMessage())]
    with suppress(ConnectionError):  # who has seen enough may have answered before it hung up
        line.send(b"".join(parts))
    answer = _next_event(http, line)
    while isinstance(answer, h11.InformationalResponse):
        answer = _next_event(http, line)
    if not isinstance(answer, h11.Response):
        raise OSError("it hung up before it had answered")
    _let_finish(http, line)
    return answer.status_code


def _let_finish(http: h11.Connection, line: _Line) -> None:
    """Let a receiver end a short answer; whatever goes wrong now changes nothing."""
    left = _BODY_BYTES
    with suppress(OSError, h11.ProtocolError):
        while left > 0 and isinstance(event := _next_event(http, line), h11.Data):
            left -= len(event.data)


def _next_event(http: h11.Connection, line: _Line) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(line.receive())
    return event
