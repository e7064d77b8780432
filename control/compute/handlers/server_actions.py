"""Actions on a server: POST .../action."""

from typing import Final

from attrs import evolve

from control.compute.call import Body, Call
from control.compute.handlers.servers import change, find
from control.compute.quick import as_number
from control.servers.change import change_server, delete_server
from control.servers.console import console_output
from control.servers.history import LOCK, UNLOCK
from control.servers.reset import reset_state
from schemas.server import Instance

MOST_LINES: Final = 2**31 - 1
"""of a console that are ever asked for: a message holds no number of any size"""


async def start(call: Call) -> None:
    await _begin(call, "start")


async def stop(call: Call) -> None:
    await _begin(call, "stop")


async def reboot(call: Call) -> None:
    await _begin(call, "reboot", type=call.body["reboot"]["type"].upper())


async def pause(call: Call) -> None:
    await _begin(call, "pause")


async def unpause(call: Call) -> None:
    await _begin(call, "unpause")


async def suspend(call: Call) -> None:
    await _begin(call, "suspend")


async def resume(call: Call) -> None:
    await _begin(call, "resume")


async def _begin(call: Call, action: str, **inputs: str) -> None:
    await change_server(call.top, call.identity, call.params["server"], action, inputs, any_project=call.sees_all)


async def get_console_output(call: Call) -> Body:
    """`length` counts lines, as many as `split` then finds; -1 or nothing is all."""
    length = lines_of(call.body["os-getConsoleOutput"].get("length"))
    output = await console_output(call.top, call.identity, call.params["server"], length, any_project=call.sees_all)
    return {"output": output if length is None else output.removesuffix("\n")}


def lines_of(asked: int | str | None) -> int | None:
    """How many lines of a console are asked for; None: all."""
    number = as_number(asked.strip()) if isinstance(asked, str) else asked
    return None if number is None or number < 0 else int(min(number, MOST_LINES))


async def lock(call: Call) -> None:
    """A second lock changes nothing, whoever set the first."""
    reason = (call.body["lock"] or {}).get("locked_reason") if call.version >= 73 else None
    await change(call, lambda s: s if s.locked else evolve(s, locked_by=_locker(call, s), locked_reason=reason), LOCK)


async def unlock(call: Call) -> None:
    """Raises Forbidden when it is an administrator's lock and policy does not let the asker override it."""
    found = await find(call)
    locked_by = found.instance.locked_by
    if locked_by and locked_by != _locker(call, found.instance):
        call.check("os-lock-server:unlock:unlock_override", project=found.instance.project)
    await change(call, lambda s: evolve(s, locked_by=None, locked_reason=None), UNLOCK)


async def reset(call: Call) -> None:
    state = call.body["os-resetState"]["state"]
    await reset_state(call.top, call.identity, call.params["server"], state, any_project=call.sees_all)


async def force_delete(call: Call) -> None:
    """As DELETE: nothing is kept for being restored."""
    await delete_server(call.top, call.identity, call.params["server"], any_project=call.sees_all)


def _locker(call: Call, server: Instance) -> str:
    return "owner" if server.project == call.identity.project else "admin"
