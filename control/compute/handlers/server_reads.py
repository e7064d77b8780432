"""Small things to read of a server: its guest's diagnostics, NUMA topology and password."""

from control.compute.call import Body, Call
from control.compute.handlers.servers import find
from control.compute.views import diagnostics as views
from control.servers import console
from runtime import ambient


async def diagnostics(call: Call) -> Body:
    """Raises Conflict unless the guest runs or is paused."""
    server, told = await console.diagnostics(call.top, call.identity, call.params["server"], any_project=call.sees_all)
    return views.standard(server, told, ambient.now()) if call.version >= views.STANDARD_SINCE else views.raw(told)


async def topology(call: Call) -> Body:
    """No guest has a NUMA topology of its own: all float over their host."""
    await find(call)
    return {"nodes": [], "pagesize_kb": None}


async def password(call: Call) -> Body:
    """Empty: it is a guest that sets it, through a metadata service."""
    await find(call)
    return {"password": ""}


async def clear_password(call: Call) -> None:
    await find(call)
