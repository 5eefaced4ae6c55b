"""Names of hosts that the tests make up."""

import socket

import pytest


def names(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> None:
    """Let names lead to addresses, and no other name to any."""

    def look_up(host: str, *_arguments: object, **_named: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
