"""Which requests come from our own addresses: the check against pages that a stranger puts into a browser.

A page may send requests to any address that its browser reaches, and by a name that leads there (DNS rebinding) also
read the answers. The header `Host` then has the stranger's name, the header `Origin` the stranger's page.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from lucid.settings import Settings

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""


@dataclass(frozen=True)
class OwnAddresses:
    """The names and pages by which a server that listens on this machine may be asked."""

    hosts: frozenset[str]
    any_address: bool
    """Whether a bare IP address is always ours: no page of a stranger is loaded from it."""
    pages: frozenset[str]

    def foreign(self, headers: Headers) -> str | None:
        """What is wrong with the addresses in a request, in one sentence; None for one of ours.

        A request without `Host` (HTTP/1.0) or without `Origin` (no browser) has nothing wrong there.
        """
        found = {name: raw.decode("latin-1").strip() for name, raw in headers if name in (b"host", b"origin")}
        host, origin = found.get(b"host"), found.get(b"origin")
        if host is not None and not self._is_own_host(host):
            return f"this server is not called {host[:100]!r}; add the name to LUCID_ALLOWED_HOSTS if it is yours"
        if origin is not None and not self._is_own_page(origin, host):
            return f"pages of {origin[:100]!r} may not ask this server"
        return None

    def _is_own_host(self, value: str) -> bool:
        host = _host_of(f"//{value}")
        return host is not None and (host in self.hosts or (self.any_address and _is_address(host)))

    def _is_own_page(self, origin: str, host: str | None) -> bool:
        """Whether a page is one of ours, or comes from the very address that is asked, perhaps through a proxy."""
        page = origin.lower()
        return page in self.pages or (
            host is not None and page in (f"http://{host.lower()}", f"https://{host.lower()}")
        )


def own_addresses(settings: Settings, port: int, *more_pages: str) -> OwnAddresses:
    """The addresses of a server of ours that listens on `settings.host` and a port."""
    hosts = {"localhost", "127.0.0.1", "::1", settings.host.lower(), *settings.own_hosts}
    everywhere = settings.reachable_host != settings.host
    if everywhere:
        hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    hosts |= {host for page in more_pages if (host := _host_of(page))}
    pages = {f"http://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts}
    return OwnAddresses(frozenset(hosts), everywhere, frozenset(pages | {_origin_of(page) for page in more_pages}))


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _origin_of(page: str) -> str:
    parts = urlsplit(page)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
