"""What a view of servers needs beside their records: the asker's rights, the hosts' states, the user data."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from control.compute.call import Call
from control.compute.views.servers import Look, Viewer
from control.servers.find import Found
from control.top import Top
from kv.keys import Cell, Global
from schemas.errors import KilonovaError

HOST_STATUS_SINCE = 16
USER_DATA_SINCE = 3


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
        statuses = await _host_statuses(call.top, servers)
    if extended and viewer.attributes and call.version >= USER_DATA_SINCE:
        data = await _user_data(call.top, servers)
    return Look(viewer, call.urls, statuses, data)


async def _host_statuses(top: Top, servers: Iterable[Found]) -> dict[str, str]:
    """UP, DOWN, MAINTENANCE or UNKNOWN by server; servers without a host are left out."""
    hosted = [(f, f.instance.host) for f in servers if f.cell and f.instance.host]
    mappings = await top.store.read_all([Global.HOSTS(h) for h in {h for _, h in hosted}])
    known = {m.value.host: m.value for m in mappings if m}
    alive: dict[tuple[str, str], bool] = {}
    by_cell: defaultdict[str, set[str]] = defaultdict(set)
    for found, host in hosted:
        by_cell[found.cell or ""].add(host)
    for cell, hosts in by_cell.items():
        order = sorted(hosts)
        try:
            beats = await top.cells.store(cell).read_all([Cell.ALIVE(h) for h in order])
        except KilonovaError:  # a cell that is down says nothing of its hosts: UNKNOWN
            continue
        alive.update({(cell, h): b is not None for h, b in zip(order, beats, strict=True)})
    statuses = {}
    for found, host in hosted:
        mapping = known.get(host)
        if mapping and mapping.forced_down:
            status = "DOWN"
        elif mapping and mapping.disabled:
            status = "MAINTENANCE"
        else:
            status = "UP" if alive.get((found.cell or "", host)) else "UNKNOWN"
        statuses[found.instance.uuid] = status
    return statuses


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
