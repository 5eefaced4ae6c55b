"""Which addresses are public: the fixed list, in every form in which an address can be written."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import product

import pytest

from lucid.addresses import GLOBAL_6, RESERVED_4, RESERVED_6, is_public

FORMS: dict[str, Callable[[int], str]] = {
    "plain": lambda inner: str(IPv4Address(inner)),
    "compatible": lambda inner: str(IPv6Address(inner)),
    "mapped": lambda inner: str(IPv6Address((0xFFFF << 32) | inner)),
    "NAT64": lambda inner: str(IPv6Address((0x64FF9B << 96) | inner)),
    "ISATAP": lambda inner: str(IPv6Address((0x2600 << 112) | (0x5EFE << 32) | inner)),
    "ISATAP of a global address": lambda inner: str(IPv6Address((0x2600 << 112) | (0x0200_5EFE << 32) | inner)),
}
"""How an IPv4 address, as a number, may stand in an address."""

CLOSED_FORMS: dict[str, Callable[[int], str]] = {
    "6to4": lambda inner: str(IPv6Address((0x2002 << 112) | (inner << 80))),
    "Teredo": lambda inner: str(IPv6Address((0x2001_0000 << 96) | (inner ^ 0xFFFF_FFFF))),
    "translated": lambda inner: str(IPv6Address((0xFFFF << 48) | inner)),
    "NAT64 of a local network": lambda inner: str(IPv6Address((0x64FF9B0001 << 80) | inner)),
}
"""Forms that lead through what no receiver needs."""


@pytest.mark.parametrize("network", RESERVED_4, ids=str)
def test_reserved_addresses_are_not_public_in_any_form(network: IPv4Network) -> None:
    """The first, the last and one in the middle of every reserved network."""
    first, last = int(network.network_address), int(network.broadcast_address)

    found = [form(inner) for form, inner in product(FORMS.values(), (first, (first + last) // 2, last))]

    assert [] == [address for address in found if is_public(address)]


@pytest.mark.parametrize("network", RESERVED_4, ids=str)
def test_neighbours_of_reserved_networks_are_public(network: IPv4Network) -> None:
    """The list is not wider than it says; of networks that touch, the outer neighbours are meant."""
    neighbours = (int(network.network_address) - 1, int(network.broadcast_address) + 1)
    free = [
        inner
        for inner in neighbours
        if 0 <= inner < 2**32 and not any(IPv4Address(inner) in other for other in RESERVED_4)
    ]

    assert all(is_public(form(inner)) for form, inner in product(FORMS.values(), free))


@pytest.mark.parametrize("form", CLOSED_FORMS)
@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8"])
def test_tunnels_are_not_public_whatever_they_hold(form: str, inner: str) -> None:
    """They end in networks that nobody can check from here."""
    assert not is_public(CLOSED_FORMS[form](int(IPv4Address(inner))))


@pytest.mark.parametrize(
    "network",
    [
        *RESERVED_6,
        *map(
            IPv6Network,
            ("::1/128", "::/128", "100::/64", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
        IPv6Network("64:ff9b:1::/48"),
        IPv6Network("fd00:ec2::254/128"),
    ],
    ids=str,
)
def test_reserved_ipv6_networks_are_not_public(network: IPv6Network) -> None:
    """The first, the last and one in the middle."""
    first, last = int(network.network_address), int(network.broadcast_address)

    assert not any(is_public(str(IPv6Address(one))) for one in (first, (first + last) // 2, last))


def test_the_internet_is_public() -> None:
    """Addresses of well-known name servers, and the edges of what is given out."""
    assert all(map(is_public, ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450::1", "2000::1", "3ffe::1")))
    assert not is_public(str(GLOBAL_6.broadcast_address + 1))


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700:4700::1111%eth0"])
def test_an_address_with_a_zone_is_not_public(address: str) -> None:
    """It names an interface of this machine."""
    assert not is_public(address)
