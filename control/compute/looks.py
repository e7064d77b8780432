"""Servers as JSON, with what a view needs beside their records: the asker's rights, hosts' states, user data."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import orjson
from attrs import evolve

from control.compute.call import Call
from control.compute.views import rendered
from control.compute.views.servers import Look, Viewer
from control.servers.find import Found
from control.top import Top
from kv.keys import Cell, Global
from runtime.slices import sliced

RENDERED_AT_ONCE = 20
"""servers, each 30 us, between two turns of the event loop"""
HOST_STATUS_SINCE = 16
USER_DATA_SINCE = 3
GROUPS_SINCE = 71


def viewer_of(call: Call) -> Viewer:
    every_status = call.allows("servers:show:host_status")
    return Viewer(
        version=call.version,
        attributes=call.allows("os-extended-server-attributes"),
        host_status=every_status or call.allows("servers:show:host_status:unknown-only"),
        unknown_only=not every_status,
        flavor_specs=call.allows("os-flavor-extra-specs:index"),
        fault_details=call.identity.is_admin,
    )


async def full(call: Call, servers: Sequence[Found], *, single: bool) -> list[orjson.Fragment]:
    """The bodies of show (`single`) or of a detailed list, without their envelope."""
    viewer = viewer_of(call)
    groups = await _groups(call.top, servers) if single and call.version >= GROUPS_SINCE else {}
    look = Look(viewer, call.urls, _host_statuses(call, viewer, servers), groups=groups)
    number = rendered.looker(look, single=single)
    shown = [rendered.known(found, look, number) for found in servers]
    missing = [found for found, known in zip(servers, shown, strict=True) if known is None]
    if missing and viewer.attributes and call.version >= USER_DATA_SINCE:
        look = evolve(look, user_data=await _user_data(call.top, missing))
    bodies: list[orjson.Fragment] = []
    async for batch in sliced(zip(servers, shown, strict=True), RENDERED_AT_ONCE):
        bodies += [known or rendered.render(found, look, number, single=single) for found, known in batch]
    return bodies


async def _groups(top: Top, servers: Iterable[Found]) -> dict[str, list[str]]:
    """By server, the group that it is in and that was not deleted since. Only views of single servers show it."""
    named = {f.instance.uuid: f.mapping.group for f in servers if f.mapping.group}
    found = await top.store.read_all([Global.GROUPS(group) for group in named.values()])
    return {uuid: [group] for (uuid, group), stored in zip(named.items(), found, strict=True) if stored}


def _host_statuses(call: Call, viewer: Viewer, servers: Iterable[Found]) -> dict[str, str]:
    """By server, as far as they are shown; those without a host, as deleted ones are, are left out."""
    if not viewer.host_status or call.version < HOST_STATUS_SINCE:
        return {}
    hosted = [
        (f.instance.uuid, f.cell, f.instance.host)
        for f in servers
        if f.cell and f.instance.host and f.instance.vm_state != "deleted"
    ]
    pairs = {(cell, host) for _, cell, host in hosted}
    by_host = {(cell, host): call.top.liveness.status(cell, host) for cell, host in pairs}
    if viewer.unknown_only:
        by_host = {where: status for where, status in by_host.items() if status == "UNKNOWN"}
    return {uuid: by_host[cell, host] for uuid, cell, host in hosted if (cell, host) in by_host}


async def _user_data(top: Top, servers: Iterable[Found]) -> dict[str, str]:
    data: dict[str, str] = {}
    by_cell: defaultdict[str | None, list[str]] = defaultdict(list)
    for found in servers:
        if found.instance.has_user_data and not found.down:
            by_cell[found.cell].append(found.instance.uuid)
    for cell, uuids in by_cell.items():
        if cell is None:
            requests = await top.store.read_all([Global.REQUESTS(u) for u in uuids])
            data.update({u: r.value.user_data for u, r in zip(uuids, requests, strict=True) if r and r.value.user_data})
        else:
            kept = await top.cells.store(cell).read_all([Cell.USER_DATA(u) for u in uuids])
            data.update({u: k.value.data for u, k in zip(uuids, kept, strict=True) if k})
    return data
