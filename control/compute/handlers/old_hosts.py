"""os-hosts: the hosts as versions up to 2.42 knew them."""

from control.cells.hosts import HostView, list_hosts, set_host
from control.compute.call import Body, Call
from control.compute.handlers.hypervisors import servers_on
from control.compute.views import hosts as host_views
from control.compute.views import old_hosts as views
from schemas.errors import BadRequest, NotFound, NotImplementedHere


async def index(call: Call) -> Body:
    """Those that are enabled, of one zone when it is named."""
    zone = call.arg("zone")
    hosts = [h for h in await list_hosts(call.top) if not h.mapping.disabled and (not zone or h.zone == zone)]
    return {"hosts": [views.brief(host) for host in hosts]}


async def show(call: Call) -> Body:
    host = await _find(call, "Compute host {} could not be found.")
    return {"host": views.resources(host, await servers_on(call.top, host))}


async def update(call: Call) -> Body:
    """Raises NotFound, NotImplementedHere for maintenance, which no driver knows."""
    await _find(call, "Host {} could not be found.")
    if "maintenance_mode" in call.body:
        raise NotImplementedHere(UNSUPPORTED)
    enabled = call.body["status"].lower() == "enable"
    changed = await set_host(call.top, call.params["host"], disabled=not enabled)
    await call.top.liveness.catch_up()
    return {"host": changed.mapping.host, "status": host_views.status(changed)}


async def power(call: Call) -> Body:
    """No driver turns its own machine on or off. Raises NotFound, BadRequest, NotImplementedHere."""
    host = await _find(call, "Host {} could not be found.")
    if host_views.state(host) == "down":
        raise BadRequest(f"Compute service of {host.mapping.host} is unavailable at this time.")
    raise NotImplementedHere(UNSUPPORTED)


UNSUPPORTED = "The requested functionality is not supported."


async def _find(call: Call, otherwise: str) -> HostView:
    name = call.params["host"]
    for host in await list_hosts(call.top):
        if host.mapping.host == name:
            return host
    raise NotFound(otherwise.format(name))
