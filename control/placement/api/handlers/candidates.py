"""Where a request could be placed."""

from control.placement.api.call import Answer, Call
from schemas.errors import NotImplementedHere


async def index(call: Call) -> Answer:
    raise NotImplementedHere("allocation candidates")
