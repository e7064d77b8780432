"""Reads that only a server's host can answer."""

from typing import Any

from control.servers.find import Found, find_server
from control.top import Top
from schemas.errors import BusUnavailable, Conflict, GuestNotFound, NobodyListens, NotImplementedHere
from schemas.guest import Diagnostics, PowerState
from schemas.identity import Identity
from schemas.messages import HostCall, HostCallReply
from schemas.server import Instance
from schemas.subjects import call


async def console_output(
    top: Top, identity: Identity, uuid: str, lines: int | None, *, any_project: bool = False
) -> str:
    """The serial console's last lines. Raises Conflict while the server has no host or its guest is not there."""
    found = await find_server(top, identity, uuid, any_project=any_project)
    return (await _ask(top, found, "console-output", {"lines": lines})).output


async def diagnostics(
    top: Top, identity: Identity, uuid: str, *, any_project: bool = False
) -> tuple[Instance, Diagnostics]:
    """The server and what its host has counted of its guest. Raises Conflict unless the guest runs or is paused."""
    found = await find_server(top, identity, uuid, any_project=any_project)
    if found.instance.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
        raise Conflict(f"Instance {uuid} is not ready")
    told = (await _ask(top, found, "diagnostics", {})).diagnostics
    if told is None:
        raise NotImplementedHere("The host of this server does not tell its diagnostics.")
    return found.instance, told


async def _ask(top: Top, found: Found, verb: Any, options: dict[str, Any]) -> HostCallReply:
    uuid, host = found.instance.uuid, found.instance.host
    if found.cell is None or host is None:
        raise Conflict(f"Instance {uuid} is not ready")
    question = HostCall(found.cell, host, verb, uuid, options)
    timeout = top.settings.api.host_call_timeout
    try:
        return await top.bus.request(call(found.cell), question, HostCallReply, timeout)
    except GuestNotFound as error:
        raise Conflict(f"Instance {uuid} is not ready") from error
    except (NobodyListens, BusUnavailable) as error:
        raise Conflict(f"The host of instance {uuid} does not answer now; try again later") from error
