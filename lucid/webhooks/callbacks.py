"""Callbacks: a signed POST to the customer when a training has ended.

The signature is `Lucid-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">` with the callback secret, so the
receiver can tell that the call is ours and when it was made. The same stands in the three headers of Standard Webhooks
(standardwebhooks.com), for which there are libraries in most languages.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from lucid import logs
from lucid.errors import CallbackFailed, CallbackRefused
from lucid.schema.fields import format_time, utc_now
from lucid.schema.training import ModelStatus
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.files import write_once
from lucid.store.home import Home
from lucid.store.tables.deliveries import Event, NextAttempt
from lucid.webhooks.addresses import is_public
from lucid.webhooks.posting import Deadline, look_up, not_reached, port_of, post

SIGNATURE_HEADER = "Lucid-Signature"
_WEB_PORTS = (80, 443)
_FREE_PORTS = range(1024, 65536)
PAUSES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 300)
"""Seconds between the attempts to deliver an event: a quarter of an hour in all."""
OWN_PAUSES = PAUSES[:5]
"""Those that a process waits for itself that has ended a training; then `webhooks.sender` goes on."""
_TAKEN_SECONDS = 60
"""An event that somebody sends is nobody else's for so long, beyond what a patient attempt takes."""


def make_event(
    status: ModelStatus, url: str, event_id: str | None = None, created: datetime | None = None, name: str | None = None
) -> Event:
    """The event that tells how a training ended: `training.completed`, `training.held` or `training.error`.

    A new one, made now; or the one of this id, time and name once more.
    """
    event_id, created = event_id or uuid.uuid4().hex, created or utc_now()
    name = name or f"training.{'held' if status.held else status.status}"
    body = {
        **status.model_dump(mode="json"),
        "event_id": event_id,
        "event": name,
        "created": format_time(created),
    }
    return Event(event_id, name, url, status, json.dumps(body).encode(), created)


def callback_secret(settings: Settings) -> str:
    """The secret that signs callbacks: from the settings, or made once and kept in LUCID_HOME/callback_secret."""
    if settings.callback_secret:
        return settings.callback_secret
    secret = write_once(Home(settings.home).callback_secret, secrets.token_hex(32) + "\n").strip()
    logs.hide(secret)
    return secret


def standard_secret(settings: Settings) -> str:
    """The same secret as libraries of Standard Webhooks take it."""
    return "whsec_" + base64.b64encode(callback_secret(settings).encode()).decode()


def sign(secret: str, body: bytes, at: int) -> str:
    """Value of the signature header for a body sent at a Unix time."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def standard_headers(secret: str, event_id: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of Standard Webhooks for a body sent at a Unix time."""
    digest = hmac.new(secret.encode(), f"{event_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


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


def deliver(settings: Settings, catalog: Catalog, event: Event, own_pauses: Sequence[int] = ()) -> None:
    """Try once to deliver an event and record the outcome in the catalog, where one that failed is owed again.

    It is due so much later, after each of the first attempts, that a caller who tries again itself after `own_pauses`
    comes first. Raises CallbackRefused where the target may not be called, CallbackFailed where another try may help.
    """

    def again(attempts: int) -> datetime | None:
        if attempts > len(PAUSES):
            return None
        taken = patience(settings) if attempts <= len(own_pauses) else timedelta()
        return utc_now() + timedelta(seconds=PAUSES[attempts - 1]) + taken

    def record(message: str | None, again: NextAttempt) -> None:
        catalog.deliveries.record(event, message, utc_now(), again)

    try:
        _post(settings, event)
    except CallbackRefused as error:
        record(error.message, lambda _attempts: None)
        raise
    except CallbackFailed as error:
        record(error.message, again)
        raise
    except Exception as error:  # whatever it was, it is an attempt that failed
        record(f"{type(error).__name__}: {error}", again)
        raise
    record(None, again)


def deliver_patiently(settings: Settings, catalog: Catalog, event: Event) -> bool:
    """Try to deliver an event several times with growing pauses; tells whether it arrived, raises nothing.

    One that has not arrived is owed.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(CallbackFailed),
        wait=wait_chain(*map(wait_fixed, OWN_PAUSES)),
        stop=stop_after_attempt(1 + len(OWN_PAUSES)),
        reraise=True,
    )
    try:
        attempts(deliver, settings, catalog, event, OWN_PAUSES)
    except (CallbackRefused, CallbackFailed):
        return False
    return True


def patience(settings: Settings) -> timedelta:
    """How long an event is nobody else's that somebody is sending."""
    return timedelta(seconds=_TAKEN_SECONDS + 4 * settings.callback_timeout_seconds)


def _post(settings: Settings, event: Event) -> None:
    url, deadline = _parse(event.url), Deadline.within(settings.callback_timeout_seconds)
    try:
        # The address that was checked is the one connected to: a name could lead elsewhere a moment later.
        address = _find(url, settings.callback_allow_private, settings.callback_allow_ports, deadline)
    except OSError as error:
        raise not_reached(url.host, error, deadline) from error
    secret, now = callback_secret(settings), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "lucid",
        SIGNATURE_HEADER: sign(secret, event.body, now),
        **standard_headers(secret, event.event_id, event.body, now),
    }
    status = post(url, address, headers, event.body, deadline)
    if not 200 <= status < 300:
        raise CallbackFailed(f"the callback receiver at {url.host} answered {status}, expected 2xx")
