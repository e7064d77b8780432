"""os-services: the agents of the hosts, under the name that Nova's clients know."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from control.cells.hosts import HostView, list_hosts, remove_host, set_host
from control.compute.call import Body, Call
from control.compute.schemas.common import check_uuid, truth
from control.compute.views import hosts as views
from schemas.errors import BadRequest, NotFound

UUIDS_SINCE: Final = 53
FORCED_DOWN_SINCE: Final = 11
DOWN_CELLS_SINCE: Final = 69


async def index(call: Call) -> Body:
    binary, host = call.arg("binary"), call.arg("host")
    found = await list_hosts(call.top) if binary in (None, views.COMPUTE) else []
    wanted = [h for h in found if host in (None, h.mapping.host)]
    shown = [views.service(h, call.version) for h in wanted if not h.cell_down]
    if call.version >= DOWN_CELLS_SINCE:
        shown += [views.unreachable_service(h) for h in wanted if h.cell_down]
    return {"services": shown}


async def update(call: Call) -> Body:
    body = await (_update_by_uuid(call) if call.version >= UUIDS_SINCE else _update_by_name(call))
    await call.top.liveness.catch_up()
    return body


async def delete(call: Call) -> None:
    """An agent that still runs registers again."""
    ident = call.params["id"]
    if call.version >= UUIDS_SINCE:
        check_uuid(ident)
    elif not ident.isdecimal():
        raise BadRequest(f"Invalid service id {ident}: it is a number")
    for host in await list_hosts(call.top):
        if str(views.service_id(host, call.version)) == ident:
            await remove_host(call.top, host)
            return
    raise NotFound(f"Service {ident} could not be found.")


async def _update_by_uuid(call: Call) -> Body:
    ident, asked = call.params["id"], call.body
    check_uuid(ident)
    status, reason, forced = asked.get("status"), asked.get("disabled_reason"), asked.get("forced_down")
    if reason is not None and status != "disabled":
        raise BadRequest("Specifying 'disabled_reason' requires that 'status' is 'disabled'.")
    if status is None and forced is None:
        raise BadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    for host in await list_hosts(call.top):
        if views.service_uuid(host) == ident:
            break
    else:
        raise NotFound(f"Service {ident} could not be found.")
    changed = await set_host(
        call.top,
        host.mapping.host,
        disabled=None if status is None else status == "disabled",
        reason=reason,
        forced_down=None if forced is None else truth(forced),
    )
    return {"service": views.service(changed, call.version)}


async def _update_by_name(call: Call) -> Body:
    what, asked = call.params["id"], call.body
    change = _CHANGES.get(what)
    if change is None or (what == "force-down" and call.version < FORCED_DOWN_SINCE):
        raise NotFound("Unknown action")
    if asked["binary"] != views.COMPUTE:
        raise NotFound(f"Could not find binary {asked['binary']} on host {asked['host']}.")
    changed = await change(call, asked)
    return {"service": views.changed_service(changed, what)}


async def _enable(call: Call, asked: Mapping[str, Any]) -> HostView:
    return await set_host(call.top, asked["host"], disabled=False)


async def _disable(call: Call, asked: Mapping[str, Any]) -> HostView:
    return await set_host(call.top, asked["host"], disabled=True)


async def _disable_with_reason(call: Call, asked: Mapping[str, Any]) -> HostView:
    if "disabled_reason" not in asked:
        raise BadRequest("Missing disabled reason field")
    return await set_host(call.top, asked["host"], disabled=True, reason=asked["disabled_reason"])


async def _force_down(call: Call, asked: Mapping[str, Any]) -> HostView:
    if "forced_down" not in asked:
        raise BadRequest("Missing forced_down field")
    return await set_host(call.top, asked["host"], forced_down=truth(asked["forced_down"]))


_CHANGES: Final[dict[str, Callable[[Call, Mapping[str, Any]], Awaitable[HostView]]]] = {
    "enable": _enable,
    "disable": _disable,
    "disable-log-reason": _disable_with_reason,
    "force-down": _force_down,
}
