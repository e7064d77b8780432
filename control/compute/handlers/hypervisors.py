"""os-hypervisors: the hosts as compute nodes."""

from typing import Final

from control.cells.hosts import HostView, list_hosts
from control.compute.call import Body, Call
from control.compute.paging import LATER_TEXT, page_of, with_next
from control.compute.schemas.common import check_uuid, truth
from control.compute.views import hosts as views
from control.top import Top
from kv.keys import Cell
from runtime import ambient
from schemas.errors import BadRequest, KilonovaError, NotFound, NotImplementedHere
from schemas.server import Instance, time_key

PAGES_SINCE: Final = 33
UUIDS_SINCE: Final = 53


async def index(call: Call) -> Body:
    return await _list(call, full=False)


async def detail(call: Call) -> Body:
    return await _list(call, full=True)


async def show(call: Call) -> Body:
    host = await _find(call)
    body = views.full_hypervisor(host, call.version, ambient.now())
    if truth(call.arg("with_servers")):
        body |= await _servers(call, host)
    return {"hypervisor": body}


async def statistics(call: Call) -> Body:
    return {"hypervisor_statistics": views.statistics(await list_hosts(call.top, counted=True))}


async def uptime(call: Call) -> Body:
    """Raises NotFound, BadRequest for a host that is down, NotImplementedHere for one that does not tell."""
    host = await _find(call)
    if views.state(host) == "down":
        raise BadRequest(f"Compute service of {host.mapping.host} is unavailable at this time.")
    words = views.uptime(host, ambient.now())
    if words is None:
        raise NotImplementedHere("Virt driver does not implement uptime function.")
    return {"hypervisor": {**views.brief_hypervisor(host, call.version), "uptime": words}}


async def search(call: Call) -> Body:
    found = await _matching(call, call.params["hypervisor"])
    return {"hypervisors": [views.brief_hypervisor(h, call.version) for h in found]}


async def servers(call: Call) -> Body:
    found = await _matching(call, call.params["hypervisor"])
    return {"hypervisors": [{**views.brief_hypervisor(h, call.version), **await _servers(call, h)} for h in found]}


async def _list(call: Call, *, full: bool) -> Body:
    pattern = call.arg("hypervisor_hostname_pattern")
    if pattern and (call.arg("limit") or call.arg("marker")):
        raise BadRequest(
            "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."
        )
    found = await _matching(call, pattern) if pattern else await list_hosts(call.top, counted=True)
    found.sort(key=lambda h: h.mapping.host)

    def ident(host: HostView) -> str:
        return str(views.hypervisor_id(host, call.version))

    page = page_of(call, found, ident, LATER_TEXT) if call.version >= PAGES_SINCE else found
    now = ambient.now()
    shown = [
        views.full_hypervisor(h, call.version, now) if full else views.brief_hypervisor(h, call.version) for h in page
    ]
    if truth(call.arg("with_servers")):
        shown = [{**body, **await _servers(call, host)} for body, host in zip(shown, page, strict=True)]
    last = ident(page[-1]) if page and call.version >= PAGES_SINCE else None
    return with_next(call, "hypervisors", shown, last)


async def _matching(call: Call, part: str) -> list[HostView]:
    found = [h for h in await list_hosts(call.top, counted=True) if part in views.hypervisor_name(h)]
    if not found:
        raise NotFound(f"No hypervisor matching '{part}' could be found.")
    return found


async def _find(call: Call) -> HostView:
    asked = call.params["hypervisor"]
    if call.version >= UUIDS_SINCE:
        check_uuid(asked)
    for host in await list_hosts(call.top, counted=True):
        if str(views.hypervisor_id(host, call.version)) == asked:
            return host
    raise NotFound(f"Hypervisor with ID '{asked}' could not be found.")


async def _servers(call: Call, host: HostView) -> Body:
    """Below 2.75 the key is left out for a host without servers."""
    try:
        found = await servers_on(call.top, host)
    except KilonovaError:
        if host.cell_down:
            return {}
        raise
    return {"servers": views.servers_of(found)} if found or call.version >= 75 else {}


async def servers_on(top: Top, host: HostView) -> list[Instance]:
    """Raises when the host's cell does not answer."""
    store = top.cells.store(host.mapping.cell)
    lines = await store.range(Cell.BY_HOST.under(host.mapping.host, ""))
    keys = [Cell.INSTANCES(s.value.project, time_key(s.value.created_us, s.key.path.rsplit("/", 1)[1])) for s in lines]
    return [s.value for s in await store.read_all(keys) if s]
