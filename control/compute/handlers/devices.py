"""What a server has of networks, volumes and shares: nothing, as long as there is no service of either."""

from control.compute.call import Body, Call
from control.compute.handlers.servers import find
from schemas.errors import NotFound


async def security_groups(call: Call) -> Body:
    await find(call)
    return {"security_groups": []}


async def interfaces(call: Call) -> Body:
    await find(call)
    return {"interfaceAttachments": []}


async def interface(call: Call) -> Body:
    """Raises NotFound."""
    await find(call)
    raise NotFound(f"Port {call.params['id']} could not be found.")


async def volumes(call: Call) -> Body:
    await find(call)
    return {"volumeAttachments": []}


async def volume(call: Call) -> Body:
    """Raises NotFound."""
    server = (await find(call)).instance.uuid
    raise NotFound(f"Instance {server} is not attached to volume {call.params['id']}")


async def shares(call: Call) -> Body:
    await find(call)
    return {"shares": []}


async def share(call: Call) -> Body:
    """Raises NotFound."""
    await find(call)
    raise NotFound(f"Share {call.params['id']} could not be found.")
