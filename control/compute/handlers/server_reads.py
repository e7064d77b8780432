"""Small things to read of a server: its guest's diagnostics, NUMA topology and password."""

from control.compute.call import Body, Call
from control.compute.handlers.servers import find
from control.compute.views import diagnostics as views
from control.compute.views.topology import topology_view
from control.servers import console
from runtime import ambient


async def diagnostics(call: Call) -> Body:
    """Raises Conflict unless the guest runs or is paused."""
    server, told = await console.diagnostics(call.top, call.identity, call.params["server"], any_project=call.sees_all)
    return views.standard(server, told, ambient.now()) if call.version >= views.STANDARD_SINCE else views.raw(told)


async def topology(call: Call) -> Body:
    """Guests without NUMA cells of their own float over their host."""
    found = await find(call)
    return topology_view(found.instance.topology, host=call.allows("compute:server:topology:host:index"))


async def password(call: Call) -> Body:
    """Empty: it is a guest that sets it, through a metadata service."""
    await find(call)
    return {"password": ""}


async def clear_password(call: Call) -> None:
    await find(call)
