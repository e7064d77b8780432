"""Consoles: every type is one that is not available, as with a Nova whose consoles are all disabled."""

from control.compute.call import Call
from control.compute.handlers.servers import find
from schemas.errors import BadRequest, Conflict


async def create(call: Call) -> None:
    await _refuse(call, call.body["remote_console"]["type"])


async def get_console(call: Call) -> None:
    """The actions that there were before 2.6; the one key of the body is the action's."""
    (asked,) = call.body.values()
    await _refuse(call, asked["type"])


async def _refuse(call: Call, kind: str) -> None:
    """Raises BadRequest, Conflict for a server that is on no host, NotFound."""
    server = (await find(call)).instance
    if server.host is None:
        raise Conflict(f"Instance {server.uuid} is not ready")
    raise BadRequest(f"Unavailable console type {kind}.")
