"""A server's addresses by network."""

from typing import Any

from control.compute.call import Body, Call
from control.compute.handlers.servers import find
from control.compute.views.servers import addresses
from schemas.errors import NotFound
from schemas.server import Instance


async def index(call: Call) -> Body:
    return {"addresses": _plain((await find(call)).instance)}


async def show(call: Call) -> Body:
    networks, label = _plain((await find(call)).instance), call.params["id"]
    if label not in networks:
        raise NotFound("Instance is not a member of specified network")
    return {label: networks[label]}


def _plain(server: Instance) -> dict[str, Any]:
    return {
        label: [{"version": a["version"], "addr": a["addr"]} for a in there]
        for label, there in addresses(server).items()
    }
