"""Which addresses lead to the Internet, by our own list: what Python counts as global changes with its patch releases.

The list is that of the IANA special-purpose registries, with multicast, what was reserved for good, and the addresses
at which clouds answer their own machines.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_CLOSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a provider's translation; a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure to its own machines
        "169.254.0.0/16",  # link-local; most clouds' metadata at 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols; a cloud's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # what relayed 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
"""What is closed within 2000::/3; nothing else of IPv6 is in use on the Internet, but for what wraps IPv4."""
_WRAPPED = tuple(IPv6Network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96"))  # mapped, NAT64
_6TO4 = IPv6Network("2002::/16")
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFDFFFFFF
"""What stands before the IPv4 address that ends an IPv6 one, and all its bits but the one that is free (RFC 5214)."""


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address leads to the Internet; one that wraps IPv4 does where the wrapped one does."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    if parsed.scope_id is not None or not all(map(_is_public_v4, _inside(parsed))):
        return False
    if any(parsed in network for network in _WRAPPED):
        return True
    return parsed in _GLOBAL_V6 and not any(parsed in network for network in _CLOSED_V6)


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in network for network in _CLOSED_V4)


def _inside(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses to which routers would hand on what is sent to an IPv6 address."""
    found = []
    if address in _6TO4:
        found.append(int(address) >> 80)
    if int(address) >> 32 & _ISATAP_MASK == _ISATAP or any(address in network for network in _WRAPPED):
        found.append(int(address))
    return [IPv4Address(number & 0xFFFFFFFF) for number in found]
