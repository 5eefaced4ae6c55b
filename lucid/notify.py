"""Callbacks: a signed POST to the customer when a training has ended.

The signature is `Lucid-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">` with the callback secret, so the
receiver can tell that the call is ours and when it was made.
"""

import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from lucid.catalog import Catalog
from lucid.disk import write_once
from lucid.errors import CallbackFailed, CallbackRefused
from lucid.schema import ModelStatus, format_time, utc_now
from lucid.settings import Settings

SIGNATURE_HEADER = "Lucid-Signature"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
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


def check_callback_url(url: str, *, allow_private: bool) -> str:
    """Return the address to connect to for a callback URL.

    Raises CallbackRefused where the URL is not http(s), its host is unknown, or an address of it is private,
    loopback or otherwise not public and the settings do not allow that.
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
    try:
        found = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CallbackRefused(f"callback_url names the host {host!r}, which cannot be found") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not allow_private and not _is_public(address):
            raise CallbackRefused(
                f"callback_url leads to {address}, which is not a public address; "
                "set LUCID_CALLBACK_ALLOW_PRIVATE=true to allow it"
            )
    return addresses[0]


def _is_public(address: str) -> bool:
    """Whether an address leads to the Internet, whatever it is wrapped in."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo and parsed.teredo[1])
        if parsed in _NAT64 or int(parsed) < 1 << 32:  # the old form of an IPv4 address in IPv6
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner:
            return _is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


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
    # The address that was checked is the one connected to: a name could lead elsewhere a moment later.
    address = check_callback_url(event.url, allow_private=settings.callback_allow_private)
    url = httpx.URL(event.url)
    headers = {
        "Content-Type": "application/json",
        "Host": url.netloc.decode(),
        SIGNATURE_HEADER: sign(callback_secret(settings), event.body, int(time.time())),
    }
    try:
        with httpx.Client(timeout=settings.callback_timeout_seconds, trust_env=False) as client:
            response = client.post(
                url.copy_with(host=address),
                content=event.body,
                headers=headers,
                extensions={"sni_hostname": url.host},
            )
    except httpx.HTTPError as error:
        raise CallbackFailed(f"the callback receiver at {url.host} could not be reached: {error}") from error
    if not response.is_success:
        raise CallbackFailed(f"the callback receiver at {url.host} answered {response.status_code}, expected 2xx")
