"""Callbacks: a signed POST to the customer when a training has ended.

The signature is `Lucid-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">` with the callback secret, so the
receiver can tell that the call is ours and when it was made.
"""

import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Collection
from datetime import datetime

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from lucid.errors import CallbackFailed, CallbackRefused
from lucid.schema.fields import format_time, utc_now
from lucid.schema.training import ModelStatus
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.files import write_once
from lucid.store.home import Home
from lucid.store.tables.deliveries import Event
from lucid.webhooks.addresses import is_public
from lucid.webhooks.posting import Deadline, look_up, not_reached, port_of, post

SIGNATURE_HEADER = "Lucid-Signature"
_WEB_PORTS = (80, 443)
_FREE_PORTS = range(1024, 65536)
RETRY_SECONDS = [1, 2, 4, 8, 16]
"""Pauses between the attempts to deliver an event."""


def make_event(status: ModelStatus, url: str, event_id: str | None = None, created: datetime | None = None) -> Event:
    """The event that tells how a training ended: `training.completed` or `training.error`.

    A new one, made now; or the one of this id and time once more.
    """
    event_id, name = event_id or uuid.uuid4().hex, f"training.{status.status}"
    body = {
        **status.model_dump(mode="json"),
        "event_id": event_id,
        "event": name,
        "created": format_time(created or utc_now()),
    }
    return Event(event_id, name, url, status, json.dumps(body).encode())


def callback_secret(settings: Settings) -> str:
    """The secret that signs callbacks: from the settings, or made once and kept in LUCID_HOME/callback_secret."""
    if settings.callback_secret:
        return settings.callback_secret
    return write_once(Home(settings.home).callback_secret, secrets.token_hex(32) + "\n").strip()


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


def check_callback(settings: Settings, url: str) -> None:
    """Raises CallbackRefused where the settings do not allow a callback to a URL, see `check_callback_url`."""
    check_callback_url(
        url,
        allow_private=settings.callback_allow_private,
        allow_ports=settings.callback_allow_ports,
        seconds=settings.callback_timeout_seconds,
    )


def check_callback_url(
    url: str, *, allow_private: bool, allow_ports: Collection[int] = (), seconds: float = 10.0
) -> str:
    """Return the address to connect to for a callback URL.

    Raises CallbackRefused where the URL is not http(s), its host is unknown or not found within so many seconds, an
    address of it is private, loopback or otherwise not public and that is not allowed, or its port is neither a web
    server's, nor from 1024 on, nor among the allowed ones.
    """
    parsed = _parse(url)
    try:
        return _find(parsed, allow_private, allow_ports, Deadline.within(seconds))
    except OSError as error:
        raise CallbackRefused(f"callback_url names the host {parsed.host!r}, which cannot be found") from error


def _parse(url: str) -> httpx.URL:
    """Read a URL once for all: what is checked and what is called cannot differ then."""
    try:
        parsed = httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise CallbackRefused(f"callback_url {url!r} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CallbackRefused(f"callback_url {url!r} must be an http(s) URL with a host")
    if parsed.userinfo:
        raise CallbackRefused("callback_url must not hold a user name or password")
    if "%" in parsed.host:  # the scope of an address, such as fe80::1%eth0, which only one machine understands
        raise CallbackRefused(f"callback_url names the host {parsed.host!r}, in which no % may stand")
    return parsed


def _find(url: httpx.URL, allow_private: bool, allow_ports: Collection[int], deadline: Deadline) -> str:
    """The address behind a URL; raises CallbackRefused where it may not be called, OSError where it is not found."""
    addresses = look_up(url.raw_host.decode(), deadline)
    for address in addresses:
        if not allow_private and not is_public(address):
            raise CallbackRefused(
                f"callback_url leads to {address}, which is not a public address; "
                "set LUCID_CALLBACK_ALLOW_PRIVATE=true to allow it"
            )
    _check_port(port_of(url), allow_ports)
    return addresses[0]


def _check_port(port: int, allowed: Collection[int]) -> None:
    if port in _WEB_PORTS or port in _FREE_PORTS or (port > 0 and port in allowed):
        return
    raise CallbackRefused(
        f"callback_url names port {port}; allowed are 80, 443 and 1024 to 65535, "
        "and from 1 to 1023 what LUCID_CALLBACK_ALLOW_PORTS lists"
    )


def deliver(settings: Settings, catalog: Catalog, event: Event) -> None:
    """Try once to deliver an event and record the outcome in the catalog.

    Raises CallbackRefused where the target may not be called, CallbackFailed where another try may help.
    """
    try:
        _post(settings, event)
    except (CallbackRefused, CallbackFailed) as error:
        catalog.deliveries.record(event, False, error.message, utc_now())
        raise
    catalog.deliveries.record(event, True, "", utc_now())


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
    url, deadline = _parse(event.url), Deadline.within(settings.callback_timeout_seconds)
    try:
        # The address that was checked is the one connected to: a name could lead elsewhere a moment later.
        address = _find(url, settings.callback_allow_private, settings.callback_allow_ports, deadline)
    except OSError as error:
        raise not_reached(url.host, error, deadline) from error
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "lucid",
        SIGNATURE_HEADER: sign(callback_secret(settings), event.body, int(time.time())),
    }
    status = post(url, address, headers, event.body, deadline)
    if not 200 <= status < 300:
        raise CallbackFailed(f"the callback receiver at {url.host} answered {status}, expected 2xx")
