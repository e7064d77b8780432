"""Where a request comes from: the connection's address, or what a trusted proxy says of it."""

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_SITE: Final = 64
"""bits of an IPv6 address that one customer of a provider has at the least: the rest is the customer's choice"""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Raises ValueError for what is neither an address nor a network."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def source_of(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address, for IPv6 its /64 network.

    `forwarded_for` is the header X-Forwarded-For: it counts from the right, as far as its writers are
    trusted.
    """
    address, hops = peer, [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    while hops and _is_in(address, trusted):
        address = hops.pop()
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return peer
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((parsed, IPV6_SITE), strict=False))
    return str(parsed)


def _is_in(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
