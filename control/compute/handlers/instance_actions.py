"""A server's history."""

from control.compute.call import Body, Call
from control.compute.handlers.servers import find
from control.compute.paging import LATER_TEXT, page_of, with_next
from control.compute.validation import parse_time
from control.compute.views import instance_actions as views
from control.servers.find import Found, find_deleted
from control.servers.history import get_action, list_actions
from schemas.errors import BadRequest, NotFound
from schemas.operation import Action

DELETED_SINCE = 21
PAGES_SINCE = 58


async def index(call: Call) -> Body:
    actions = await list_actions(call.top, await _find(call))
    if call.version < PAGES_SINCE:
        return {"instanceActions": [views.listed(a, call.version) for a in actions]}
    since, before = call.arg("changes-since"), call.arg("changes-before")
    first = parse_time(since) if since else None
    last = parse_time(before) if before else None
    if first and last and first > last:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")

    def wants(action: Action) -> bool:
        return (first is None or action.updated >= first) and (last is None or action.updated <= last)

    page = page_of(call, actions, lambda a: a.request_id, LATER_TEXT, wants)
    shown = [views.listed(a, call.version) for a in page]
    return with_next(call, "instanceActions", shown, page[-1].request_id if page else None, "links")


async def show(call: Call) -> Body:
    action = await get_action(call.top, await _find(call), call.params["id"])
    viewer = views.Viewer(
        call.version,
        events=call.allows("os-instance-actions:events"),
        details=call.allows("os-instance-actions:events:details"),
    )
    return {"instanceAction": views.shown(action, viewer)}


async def _find(call: Call) -> Found:
    """Since 2.21 a deleted server's history can be read, as long as it is kept."""
    try:
        return await find(call)
    except NotFound:
        if call.version < DELETED_SINCE:
            raise
        return await find_deleted(call.top, call.identity, call.params["server"], any_project=call.sees_all)
