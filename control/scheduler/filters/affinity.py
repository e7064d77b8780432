"""Where other servers are: server groups and the hints that name servers or networks."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from control.placement.groups import hosts_of, violation
from control.scheduler.columns import Column
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState, Model
from control.scheduler.request import Request


def anti_affinity(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    return _refused(model, request)


def affinity(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    """An empty group may begin anywhere."""
    group = request.group
    used = hosts_of(group, request.spec.uuid) if group else frozenset()
    if used:
        yield "not the group's host", ~model.only(used)


def _refused(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    """Only hosts of members can be full of them."""
    group = request.group
    if group is None:
        return
    full = [(h, violation(group, request.spec.uuid, h)) for h in hosts_of(group, request.spec.uuid)]
    for why in {why for _, why in full if why}:
        yield why, model.only([h for h, reason in full if reason == why])


def different_host(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    yield "the host of a server to keep away from", model.only(_hinted(request, "different_host"))


def same_host(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    """Servers that are nowhere have no host to share."""
    yield "not the host of a server to share with", ~model.only(_hinted(request, "same_host"))


def _hinted(request: Request, hint: str) -> frozenset[str]:
    return frozenset(host for server in request.hint(hint) for host in request.hinted.get(server, ()))


def near_address(state: HostState, request: Request) -> str | None:
    """The host's address lies in the network of `build_near_host_ip` and `cidr`, which is /24 unless given."""
    (near, *_), cidr = request.hint("build_near_host_ip"), request.hint("cidr")
    try:
        network = ip_network(near + (cidr[0] if cidr else "/24"), strict=False)
        inside = state.facts is not None and ip_address(state.facts.host_ip) in network
    except ValueError:
        inside = False
    return None if inside else "not near the address asked for"


def _policy(request: Request, policy: str) -> bool:
    return request.group is not None and request.group.policy == policy


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "ServerGroupAntiAffinityFilter": MaskFilter(
        anti_affinity, wanted=lambda r: _policy(r, "anti-affinity"), counts=True
    ),
    "ServerGroupAffinityFilter": MaskFilter(affinity, wanted=lambda r: _policy(r, "affinity"), counts=True),
    "DifferentHostFilter": MaskFilter(different_host, wanted=lambda r: bool(r.hint("different_host"))),
    "SameHostFilter": MaskFilter(same_host, wanted=lambda r: bool(r.hint("same_host"))),
    "SimpleCIDRAffinityFilter": HostFilter(near_address, wanted=lambda r: bool(r.hint("build_near_host_ip"))),
}
