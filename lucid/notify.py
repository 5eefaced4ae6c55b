"""Callbacks: a signed POST to the customer when a training has ended.

The signature is `Lucid-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">` with the callback secret, so the
receiver can tell that the call is ours and when it was made.

A receiver can neither hold nor fill us: a call has one deadline for all of it, and of the answer nothing but its status
is read.
"""

import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11
import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from lucid.addresses import is_public
from lucid.catalog import Catalog
from lucid.disk import write_once
from lucid.errors import CallbackFailed, CallbackRefused
from lucid.schema import ModelStatus, format_time, utc_now
from lucid.settings import Settings

SIGNATURE_HEADER = "Lucid-Signature"
_PORTS, _FIRST_FREE_PORT = (80, 443), 1024
"""Ports where receivers listen: others below are those of mail, shells and the like."""
_READ_BYTES, _MOST_READS = 1024, 16
"""How much of an answer is read at most until its head is complete."""
RETRY_SECONDS = [1, 2, 4, 8, 16]
"""Pauses between the attempts to deliver an event."""


@dataclass(frozen=True)
class Event:
    """One message to one receiver; every attempt to deliver it carries the same id and body."""

    event_id: str
    name: str
    url: str
    status: ModelStatus
    body: bytes


def make_event(status: ModelStatus, url: str) -> Event:
    """The event that tells how a training ended: `training.completed` or `training.error`."""
    event_id, name = uuid.uuid4().hex, f"training.{status.status}"
    body = {
        **status.model_dump(mode="json"),
        "event_id": event_id,
        "event": name,
        "created": format_time(utc_now()),
    }
    return Event(event_id, name, url, status, json.dumps(body).encode())


def callback_secret(settings: Settings) -> str:
    """The secret that signs callbacks: from the settings, or made once and kept in LUCID_HOME/callback_secret."""
    if settings.callback_secret:
        return settings.callback_secret
    return write_once(settings.home / "callback_secret", secrets.token_hex(32) + "\n").strip()


def sign(secret: str, body: bytes, at: int) -> str:
    """Value of the signature header for a body sent at a Unix time."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def verify(secret: str, body: bytes, header: str, *, now: int, tolerance_seconds: int = 300) -> bool:
    """Whether a signature header belongs to this body and is not older than the tolerance."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    stamp = parts.get("t", "")
    if not (stamp.isascii() and stamp.isdecimal()) or abs(now - int(stamp)) > tolerance_seconds:
        return False
    return hmac.compare_digest(sign(secret, body, int(stamp)).encode(), header.encode())


def check_callback_url(url: str, *, allow_private: bool, allow_ports: Collection[int] = (), seconds: float = 10) -> str:
    """Return the address to connect to for a callback URL, found within some seconds.

    Raises CallbackRefused where the URL is not http(s), its host is unknown, its port is none that callbacks usually
    have, or an address of it is private, loopback or otherwise not public, and the settings do not allow that.
    """
    try:
        httpx.URL(url)  # what will send it must understand it too
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (ValueError, httpx.InvalidURL) as error:
        raise CallbackRefused(f"callback_url {url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise CallbackRefused(f"callback_url {url!r} must be an http(s) URL with a host")
    if parts.username or parts.password:
        raise CallbackRefused("callback_url must not hold a user name or password")
    addresses = _look_up(host, seconds)
    for address in addresses:
        if not allow_private and not is_public(address):
            raise CallbackRefused(
                f"callback_url leads to {address}, which is not a public address; "
                "set LUCID_CALLBACK_ALLOW_PRIVATE=true to allow it"
            )
    if port is not None and port not in {*_PORTS, *allow_ports} and port < _FIRST_FREE_PORT:
        raise CallbackRefused(
            f"callback_url has the port {port}; allowed are 80, 443 and from {_FIRST_FREE_PORT} on, "
            "and those in LUCID_CALLBACK_ALLOW_PORTS"
        )
    return addresses[0]


def check_callback(settings: Settings, url: str) -> str:
    """The same under the settings."""
    return check_callback_url(
        url,
        allow_private=settings.callback_allow_private,
        allow_ports=settings.callback_ports,
        seconds=settings.callback_timeout_seconds,
    )


def _look_up(host: str, seconds: float) -> list[str]:
    """All addresses of a host; the system's own patience with name servers may be longer than ours."""
    found: list[str] = []

    def ask() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(str(entry[4][0]) for entry in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if not found:
        raise CallbackRefused(f"callback_url names the host {host!r}, which cannot be found")
    return found


def deliver(settings: Settings, catalog: Catalog, event: Event) -> None:
    """Try once to deliver an event and record the outcome in the catalog.

    Raises CallbackRefused where the target may not be called, CallbackFailed where another try may help.
    """
    try:
        _post(settings, event)
    except (CallbackRefused, CallbackFailed) as error:
        catalog.record_delivery(event.event_id, event.status, event.name, event.url, False, error.message, utc_now())
        raise
    catalog.record_delivery(event.event_id, event.status, event.name, event.url, True, "", utc_now())


def deliver_patiently(settings: Settings, catalog: Catalog, event: Event) -> bool:
    """Try to deliver an event several times with growing pauses; tells whether it arrived, raises nothing."""
    attempts = Retrying(
        retry=retry_if_exception_type(CallbackFailed),
        wait=wait_exponential(multiplier=RETRY_SECONDS[0]),
        stop=stop_after_attempt(1 + len(RETRY_SECONDS)),
        reraise=True,
    )
    try:
        attempts(deliver, settings, catalog, event)
    except (CallbackRefused, CallbackFailed):
        return False
    return True


def _post(settings: Settings, event: Event) -> None:
    deadline, url = time.monotonic() + settings.callback_timeout_seconds, httpx.URL(event.url)
    # The address that was checked is the one connected to: a name could lead elsewhere a moment later.
    address = check_callback(settings, event.url)
    request = h11.Request(
        method="POST",
        target=url.raw_path,
        headers=[
            ("Host", url.netloc.decode()),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(event.body))),
            ("Connection", "close"),
            (SIGNATURE_HEADER, sign(callback_secret(settings), event.body, int(time.time()))),
        ],
    )
    try:
        status = _exchange(url, address, request, event.body, deadline)
    except TimeoutError:
        raise CallbackFailed(
            f"the callback receiver at {url.host} did not answer within {settings.callback_timeout_seconds:g} s"
        ) from None
    except (OSError, h11.RemoteProtocolError) as error:
        raise CallbackFailed(f"the callback receiver at {url.host} could not be reached: {error}") from error
    if not 200 <= status < 300:
        raise CallbackFailed(f"the callback receiver at {url.host} answered {status}, expected 2xx")


def _exchange(url: httpx.URL, address: str, request: h11.Request, body: bytes, deadline: float) -> int:
    """Send a request to an address and return the status of the answer, of which nothing else is read.

    Raises TimeoutError when all of it together takes too long, OSError and RemoteProtocolError where it goes wrong.
    """
    protocol = h11.Connection(h11.CLIENT)
    unsent = b"".join(protocol.send(part) or b"" for part in (request, h11.Data(data=body), h11.EndOfMessage()))
    port = url.port or (443 if url.scheme == "https" else 80)
    with socket.create_connection((address, port), timeout=_left(deadline)) as plain:
        connection = plain
        if url.scheme == "https":
            plain.settimeout(_left(deadline))
            connection = httpx.create_ssl_context(trust_env=False).wrap_socket(
                plain, server_hostname=url.raw_host.decode()
            )
        with connection:
            while unsent:
                connection.settimeout(_left(deadline))
                unsent = unsent[connection.send(unsent) :]
            for _ in range(_MOST_READS):
                connection.settimeout(_left(deadline))
                protocol.receive_data(connection.recv(_READ_BYTES))
                while isinstance(event := protocol.next_event(), h11.InformationalResponse):
                    continue
                if isinstance(event, h11.Response):
                    return event.status_code
    raise h11.RemoteProtocolError(f"no answer within the first {_MOST_READS * _READ_BYTES:,} bytes")


def _left(deadline: float) -> float:
    """Seconds until a deadline; raises TimeoutError once it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
