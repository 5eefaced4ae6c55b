"""Which IP addresses lead to the Internet, by a list of our own: what Python thinks of it changes with its releases.

The list is that of the special-purpose registries (RFC 6890 and its successors), with the addresses at which clouds
keep their metadata. What is wrapped in an IPv6 address is judged by the IPv4 address inside.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

RESERVED_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
GLOBAL_6 = IPv6Network("2000::/3")
"""All that was ever given out for the Internet; private, local, multicast and all other networks lie outside of it."""
RESERVED_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
WRAPPED_4 = tuple(IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96"))
"""Compatible, mapped and translated (NAT64) IPv4 addresses: the last four bytes."""
_ISATAP, _ISATAP_BITS = 0x0000_5EFE, 0xFDFF_FFFF
"""The bytes before an IPv4 address that is reached through a tunnel of an intranet, RFC 5214."""


def is_public(address: str) -> bool:
    """Whether an address, as text, leads to the Internet; one with a zone (`%eth0`) does not."""
    if "%" in address:
        return False
    parsed = ip_address(address)
    return _is_public_4(parsed) if isinstance(parsed, IPv4Address) else _is_public_6(parsed)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in RESERVED_4)


def _is_public_6(address: IPv6Address) -> bool:
    inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in WRAPPED_4):
        return _is_public_4(inner)
    if (int(address) >> 32) & _ISATAP_BITS == _ISATAP and not _is_public_4(inner):
        return False
    return address in GLOBAL_6 and not any(address in network for network in RESERVED_6)
