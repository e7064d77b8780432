"""Servers: show, change, delete, list."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import evolve

from control.compute import looks
from control.compute.call import Body, Call
from control.compute.paging import limit_of, with_next
from control.compute.schemas.common import address
from control.compute.server_filters import ServerFilters, filters_of
from control.compute.server_order import HOST_SORTS, Order, order_of, sorting
from control.compute.views import servers as views
from control.compute.views.servers import Look
from control.servers.change import delete_server, update_server
from control.servers.changes import changed_servers
from control.servers.find import Found, find_server
from control.servers.lists import Chooser, list_servers
from control.servers.markers import marker_server, place_of
from runtime.slices import kept, smallest
from schemas.errors import Forbidden, Unavailable
from schemas.server import Instance

DOWN_CELLS_SINCE: Final = 69
FULL_PUT_SINCE: Final = 75
EVERYTHING: Final = 1_000_000
"""servers that a list with its own order or with deleted ones looks at"""


async def find(call: Call) -> Found:
    """The server of the path. Raises NotFound."""
    return await find_server(call.top, call.identity, call.params["server"], any_project=call.sees_all)


async def show(call: Call) -> Body:
    found = await find(call)
    if found.down and call.version < DOWN_CELLS_SINCE:
        raise Unavailable(f"The cell of instance {found.instance.uuid} does not answer now; try again later")
    return {"server": (await looks.full(call, [found], single=True))[0]}


async def update(call: Call) -> Body:
    asked = call.body["server"]
    changes: dict[str, Any] = {}
    if "name" in asked:
        changes["name"] = asked["name"].strip()
    if "accessIPv4" in asked:
        changes["access_ip_v4"] = address(asked["accessIPv4"])
    if "accessIPv6" in asked:
        changes["access_ip_v6"] = address(asked["accessIPv6"])
    if "description" in asked:
        changes["description"] = asked["description"]
    if "OS-DCF:diskConfig" in asked:
        changes["disk_config"] = asked["OS-DCF:diskConfig"]
    if "hostname" in asked:
        changes["hostname"] = asked["hostname"]
    changed = await change(call, lambda s: evolve(s, **changes))
    if call.version < FULL_PUT_SINCE:
        return {"server": views.server(changed, Look(looks.viewer_of(call), call.urls), extended=False)}
    found = evolve(await find(call), instance=changed, revision=0)
    return {"server": (await looks.full(call, [found], single=True))[0]}


async def change(call: Call, how: Callable[[Instance], Instance], action: str | None = None) -> Instance:
    """The server of the path after `how`, which may run again when it lost a race and may raise. With `action` its
    history remembers it."""
    return await update_server(
        call.top, call.identity, call.params["server"], how, action=action, any_project=call.sees_all
    )


async def delete(call: Call) -> None:
    await delete_server(call.top, call.identity, call.params["server"], any_project=call.sees_all)


async def index(call: Call) -> Body:
    page = await _page(call, "servers:index:get_all_tenants")
    return _with_next(call, page, [views.brief(f.instance, call.urls, down=f.down) for f in page])


async def detail(call: Call) -> Body:
    page = await _page(call, "servers:detail:get_all_tenants")
    return _with_next(call, page, await looks.full(call, page, single=False))


def _with_next(call: Call, page: list[Found], shown: list[Any]) -> Body:
    return with_next(call, "servers", shown, page[-1].instance.uuid if page else None)


async def _page(call: Call, all_tenants_rule: str) -> list[Found]:
    filters = filters_of(
        call.query,
        call.version,
        everything=call.allows("servers:allow_all_filters"),
        admin=call.identity.is_admin,
    )
    if filters.all_tenants:
        call.check(all_tenants_rule)
    order = _order(call)
    limit = limit_of(call)
    if filters.nothing or limit == 0:
        return []
    chosen = partial(filters.chosen, down=call.version >= DOWN_CELLS_SINCE and not filters.tests)
    project = None if filters.all_tenants else call.identity.project
    marker = call.arg("marker")
    if not (order or filters.with_deleted or filters.only_deleted):
        after = await place_of(call.top, call.identity, marker, any_project=call.sees_all) if marker else None
        return await list_servers(call.top, project=project, limit=limit, after=after, chosen=chosen)
    found = await _all(call, project, filters, chosen)
    key = sorting(order)
    if marker:
        last = key(await marker_server(call.top, call.identity, marker, any_project=call.sees_all))
        found = await kept(found, lambda f: key(f) > last)
    return await smallest(found, key, limit)


async def _all(call: Call, project: str | None, filters: ServerFilters, chosen: Chooser) -> list[Found]:
    """In no order. It costs all servers of the project, but for changes-since, which costs what changed."""
    if filters.changes_since is not None and not filters.only_deleted:
        return await changed_servers(call.top, project, filters.changes_since, chosen)
    found: list[Found] = []
    if not filters.only_deleted:
        found += await list_servers(call.top, project=project, limit=EVERYTHING, chosen=chosen)
    if filters.only_deleted or filters.with_deleted:
        found += await list_servers(call.top, project=project, limit=EVERYTHING, chosen=chosen, deleted=True)
    return found


def _order(call: Call) -> Order:
    """Raises Forbidden for an operator's keys."""
    if HOST_SORTS & set(call.query.get("sort_key", [])) and not call.identity.is_admin:
        raise Forbidden("Only administrators can sort servers by compute host")
    return order_of(call.query, call.version)
