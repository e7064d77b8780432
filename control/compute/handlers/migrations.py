"""Migrations: there are none, since no operation of this release moves a server."""

from control.compute.call import Body, Call
from control.compute.handlers.servers import find
from control.compute.paging import LATER_TEXT, limit_of
from control.compute.validation import parse_time
from schemas.errors import BadRequest, NotFound, WrongState


async def index(call: Call) -> Body:
    """Of all servers of the project, or of the site. Raises BadRequest for a marker, which cannot be one."""
    project = call.arg("project_id")
    if project and project != call.identity.project:
        call.check("os-migrations:index:all_projects")
    since, before = call.arg("changes-since"), call.arg("changes-before")
    if since and before and parse_time(since) > parse_time(before):
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    limit_of(call)
    if marker := call.arg("marker"):
        raise BadRequest(LATER_TEXT.format(marker))
    return {"migrations": []}


async def of_server(call: Call) -> Body:
    await find(call)
    return {"migrations": []}


async def show(call: Call) -> Body:
    """Raises NotFound."""
    server = (await find(call)).instance.uuid
    raise NotFound(f"In-progress live migration {call.params['id']} is not found for server {server}.")


async def abort(call: Call) -> None:
    await _refuse(call, "abort live migration")


async def force_complete(call: Call) -> None:
    await _refuse(call, "force_complete")


async def _refuse(call: Call, action: str) -> None:
    """Raises WrongState: a server that can be told this is migrating."""
    server = (await find(call)).instance
    raise WrongState(f"Cannot '{action}' instance {server.uuid} while it is in task_state {server.task_state}")
