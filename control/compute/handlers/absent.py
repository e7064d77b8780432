"""What Nova can do and this release cannot."""

from control.compute.call import Call, Handler
from control.compute.handlers.servers import find
from schemas.errors import NotImplementedHere


def absent(what: str) -> Handler:
    """A handler that says so of a server that exists."""

    async def refuse(call: Call) -> None:
        await find(call)
        raise NotImplementedHere(f"This release of Kilonova does not implement {what}.")

    return refuse
