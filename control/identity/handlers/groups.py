"""Groups of users: there are none, and clients that look for them hear so."""

from starlette.responses import Response

from control.identity.call import Call
from schemas.errors import NotFound


async def list_groups(call: Call) -> Response:
    return call.listed("groups", [])


async def get_group(call: Call) -> Response:
    raise NotFound(f"Could not find group: {call.part('group')}.")


async def create_group(call: Call) -> Response:
    raise call.forbidden("this site has no groups of users")
