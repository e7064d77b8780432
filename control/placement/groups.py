"""Server groups as every door that writes an allocation has to keep them. Pure."""

from collections.abc import Iterable
from typing import Final

from attrs import evolve

from schemas.group import ServerGroup

HARD: Final = ("affinity", "anti-affinity")


def violation(group: ServerGroup, server: str, host: str) -> str | None:
    """Why this server of the group must not hold a claim on this host, or None. Its own other claims do not count."""
    if group.policy == "anti-affinity":
        return "full of the group's other servers" if others_on(group, server, host) >= limit_of(group) else None
    if group.policy == "affinity":
        used = hosts_of(group, server)
        return "not the group's host" if used and host not in used else None
    return None


def hosts_of(group: ServerGroup, but: str = "") -> frozenset[str]:
    """Where members, one excepted, hold claims."""
    return frozenset(host for server, hosts in group.members.items() if server != but for host in hosts)


def others_on(group: ServerGroup, server: str, host: str) -> int:
    return sum(host in hosts for other, hosts in group.members.items() if other != server)


def limit_of(group: ServerGroup) -> int:
    """How many members an anti-affinity group lets share a host."""
    return group.max_server_per_host or 1


def placed(group: ServerGroup, server: str, hosts: Iterable[str]) -> ServerGroup:
    """The group with the server's claims on these hosts and no others."""
    return evolve(group, members={**group.members, server: tuple(sorted(set(hosts)))})


def without(group: ServerGroup, servers: Iterable[str]) -> ServerGroup:
    gone = set(servers)
    return evolve(group, members={s: hosts for s, hosts in group.members.items() if s not in gone})
