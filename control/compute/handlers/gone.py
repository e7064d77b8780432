"""What is no more."""

from control.compute.call import Call
from schemas.errors import Gone


async def gone(_: Call) -> None:
    raise Gone("This resource is no longer available. No forwarding address is given.")
