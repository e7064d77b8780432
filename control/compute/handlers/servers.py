"""Servers: show, change, delete, list."""

from collections.abc import Callable
from typing import Any, Final

from attrs import evolve

from control.compute import looks
from control.compute.call import Body, Call
from control.compute.paging import limit_of, page_of, with_next
from control.compute.schemas.common import address
from control.compute.schemas.servers import IGNORED_SORT_KEYS
from control.compute.server_filters import PLAIN, ServerFilters, filters_of
from control.compute.views import servers as views
from control.compute.views.servers import Look
from control.servers.change import delete_server, update_server
from control.servers.changes import changed_servers
from control.servers.find import Found, find_server
from control.servers.lists import list_servers, newest_first
from schemas.errors import Forbidden, Unavailable
from schemas.server import Instance

DOWN_CELLS_SINCE: Final = 69
SORT_BY_LOCK_SINCE: Final = 73
FULL_PUT_SINCE: Final = 75
EVERYTHING: Final = 1_000_000
"""servers that a list with its own order or with deleted ones looks at"""
HOST_SORTS: Final = frozenset({"host", "node"})

SORTS: Final[dict[str, Callable[[Instance], object]]] = {
    **PLAIN,
    "created_at": lambda s: s.created,
    "updated_at": lambda s: s.updated,
    "launched_at": lambda s: s.launched,
    "terminated_at": lambda s: s.terminated,
    "display_name": lambda s: s.name,
    "instance_type_id": lambda s: s.flavor.id,
    "config_drive": lambda s: s.config_drive,
    "auto_disk_config": lambda s: s.disk_config,
    "locked": lambda s: s.locked,
}


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
    down_too = call.version >= DOWN_CELLS_SINCE and not filters.tests

    def wants(server: Instance) -> bool:
        return filters.wants(server) if server.vm_state != "unknown" else down_too

    project = None if filters.all_tenants else call.identity.project
    if order or filters.with_deleted or filters.only_deleted:
        found = await _all(call, project, filters, wants)
        for key, reverse in reversed(order):
            found.sort(key=lambda f: _sortable(SORTS[key](f.instance)), reverse=reverse)
        return page_of(call, found, lambda f: f.instance.uuid)
    return await list_servers(call.top, project=project, marker=call.arg("marker"), limit=limit, wants=wants)


async def _all(
    call: Call, project: str | None, filters: ServerFilters, wants: Callable[[Instance], bool]
) -> list[Found]:
    """Newest first. It costs all servers of the project, but for changes-since, which costs what changed."""

    async def listed(*, deleted: bool) -> list[Found]:
        return await list_servers(
            call.top, project=project, marker=None, limit=EVERYTHING, wants=wants, deleted=deleted
        )

    since = filters.changes_since
    if filters.only_deleted:
        return await listed(deleted=True)
    if since is not None:
        return await changed_servers(call.top, project, since, wants)
    found = await listed(deleted=False)
    if filters.with_deleted:
        found += await listed(deleted=True)
    return sorted(found, key=newest_first)


def _order(call: Call) -> list[tuple[str, bool]]:
    """Sort keys and whether each descends; empty: the default order. Raises Forbidden for an operator's keys."""
    keys = call.query.get("sort_key", [])
    if HOST_SORTS & set(keys) and not call.identity.is_admin:
        raise Forbidden("Only administrators can sort servers by compute host")
    directions = call.query.get("sort_dir", [])
    order = [(key, (directions[i] if i < len(directions) else "desc") == "desc") for i, key in enumerate(keys)]
    ignored = set(IGNORED_SORT_KEYS) - ({"locked"} if call.version >= SORT_BY_LOCK_SINCE else set())
    order = [(key, descends) for key, descends in order if key in SORTS and key not in ignored]
    if not keys and directions[:1] == ["asc"]:
        return [("created_at", False)]
    return [] if order[:1] == [("created_at", True)] else order


def _sortable(value: object) -> tuple[bool, Any]:
    """None sorts first."""
    return value is not None, value if value is not None else 0
