"""What a view of servers needs beside their records: the asker's rights, the hosts' states, the user data."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from control.compute.call import Call
from control.compute.views.servers import Look, Viewer
from control.servers.find import Found
from control.top import Top
from kv.keys import Cell, Global

HOST_STATUS_SINCE = 16
USER_DATA_SINCE = 3
GROUPS_SINCE = 71


def viewer_of(call: Call) -> Viewer:
    return Viewer(
        version=call.version,
        attributes=call.allows("os-extended-server-attributes"),
        host_status=call.allows("servers:show:host_status"),
        flavor_specs=call.allows("os-flavor-extra-specs:index"),
        fault_details=call.identity.is_admin,
    )


async def look_at(call: Call, servers: Sequence[Found], *, extended: bool = True) -> Look:
    """Fetches only what the viewer's version and rights show."""
    viewer = viewer_of(call)
    statuses: dict[str, str] = {}
    data: dict[str, str] = {}
    if extended and viewer.host_status and call.version >= HOST_STATUS_SINCE:
        statuses = _host_statuses(call.top, servers)
    if extended and viewer.attributes and call.version >= USER_DATA_SINCE:
        data = await _user_data(call.top, servers)
    groups = await _groups(call.top, servers) if call.version >= GROUPS_SINCE and len(servers) == 1 else {}
    return Look(viewer, call.urls, statuses, data, groups)


async def _groups(top: Top, servers: Iterable[Found]) -> dict[str, list[str]]:
    """By server, the group that it is in and that was not deleted since. Only views of single servers show it."""
    named = {f.instance.uuid: f.mapping.group for f in servers if f.mapping.group}
    found = await top.store.read_all([Global.GROUPS(group) for group in named.values()])
    return {uuid: [group] for (uuid, group), stored in zip(named.items(), found, strict=True) if stored}


def _host_statuses(top: Top, servers: Iterable[Found]) -> dict[str, str]:
    """By server; those without a host are left out."""
    return {
        found.instance.uuid: top.liveness.status(found.cell, found.instance.host)
        for found in servers
        if found.cell and found.instance.host
    }


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
