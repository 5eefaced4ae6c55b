"""Which addresses are public: laws over every network that is not, in every form in which IPv6 wraps IPv4."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest

from lucid.webhooks.addresses import is_public

CLOSED_V4 = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
""".split()
CLOSED_V6 = """
    ::/128 ::1/128 ::/96 100::/64 64:ff9b:1::/48 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10
    fec0::/10 ff00::/8 ::/3 4000::/2 8000::/1
""".split()
METADATA = "169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fe80::a9fe:a9fe".split()
Wrap = Callable[[int], IPv6Address]
JUDGED_BY_THE_INSIDE: dict[str, Wrap] = {
    "mapped": lambda inner: IPv6Address(0xFFFF << 32 | inner),
    "NAT64": lambda inner: IPv6Address(int(IPv6Address("64:ff9b::")) | inner),
    "6to4": lambda inner: IPv6Address(int(IPv6Address("2002::1")) | inner << 80),
    "ISATAP": lambda inner: IPv6Address(int(IPv6Address("2a00:1450:4001:800:0:5efe::")) | inner),
    "ISATAP, unique": lambda inner: IPv6Address(int(IPv6Address("2a00:1450:4001:800:200:5efe::")) | inner),
}
NEVER_PUBLIC: dict[str, Wrap] = {
    "compatible": IPv6Address,
    "translated": lambda inner: IPv6Address(0xFFFF << 48 | inner),
    "NAT64 of one's own": lambda inner: IPv6Address(int(IPv6Address("64:ff9b:1::")) | inner),
    "Teredo": lambda inner: IPv6Address(int(IPv6Address("2001:0:808:808::")) | inner ^ 0xFFFFFFFF),
}


def members(network: IPv4Network | IPv6Network) -> Iterator[int]:
    """Its first, last and a middle address."""
    first = int(network.network_address)
    yield from (first, first + network.num_addresses // 3, first + network.num_addresses - 1)


def neighbours(network: str, closed: list[str], most: int) -> Iterator[int]:
    """The addresses just before and after a network that lie in no closed one."""
    parsed, others = ip_network(network), [ip_network(other) for other in closed]
    kind = IPv4Address if parsed.version == 4 else IPv6Address
    for number in (int(parsed.network_address) - 1, int(parsed.broadcast_address) + 1):
        if 0 <= number <= most and not any(kind(number) in other for other in others):
            yield number


def closed() -> Iterator[str]:
    for network in map(IPv4Network, CLOSED_V4):
        for number in members(network):
            yield str(IPv4Address(number))
            yield from (str(wrap(number)) for wrap in (*JUDGED_BY_THE_INSIDE.values(), *NEVER_PUBLIC.values()))
    for network_v6 in map(IPv6Network, CLOSED_V6):
        yield from (str(IPv6Address(number)) for number in members(network_v6))
    yield from METADATA


def just_outside() -> Iterator[str]:
    for network in CLOSED_V4:
        for number in neighbours(network, CLOSED_V4, (1 << 32) - 1):
            yield str(IPv4Address(number))
            yield from (str(wrap(number)) for wrap in JUDGED_BY_THE_INSIDE.values())
    for network in CLOSED_V6:
        yield from (str(IPv6Address(number)) for number in neighbours(network, CLOSED_V6, (1 << 128) - 1))


def test_no_address_of_a_closed_network_is_public() -> None:
    """First, last and in between, as it is and in every wrapping."""
    assert [] == [address for address in closed() if is_public(address)]


def test_addresses_just_outside_are_public() -> None:
    """As they are, and wrapped where the wrapping leads to them."""
    assert [] == [address for address in just_outside() if not is_public(address)]
    assert {"9.255.255.255", "172.32.0.0", "2000::", "2001:200::", "2001:db9::", "3fff:1000::"} <= set(just_outside())


@pytest.mark.parametrize("form", NEVER_PUBLIC)
def test_some_wrappings_are_never_public(form: str) -> None:
    """Whatever is inside: they are given up, or lead through somebody's own network."""
    assert not is_public(str(NEVER_PUBLIC[form](int(IPv4Address("8.8.8.8")))))


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("name", ["is_global", "is_private", "is_reserved", "is_multicast"])
def test_what_python_counts_as_global_decides_nothing(name: str, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer changes between patch releases; ours does not."""
    for kind in (IPv4Address, IPv6Address):
        monkeypatch.setattr(kind, name, said)

    assert [] == [address for address in closed() if is_public(address)]
    assert [] == [address for address in just_outside() if not is_public(address)]


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2a00:1450:4001:800::200e%1", "::ffff:8.8.8.8%lo"])
def test_an_address_with_a_scope_is_not_public(address: str) -> None:
    """It means something on this machine only."""
    assert not is_public(address)
