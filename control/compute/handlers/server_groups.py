"""os-server-groups."""

from control.compute.call import Body, Call
from control.compute.paging import count_of, limit_of
from control.compute.schemas.common import number
from control.compute.views import server_groups as views
from control.servers.groups import create_group, delete_group, get_group, list_groups, missing
from runtime import ambient
from schemas.errors import BadRequest
from schemas.group import ServerGroup


async def index(call: Call) -> Body:
    project: str | None = call.identity.project
    if "all_projects" in call.query and call.identity.is_admin:
        call.check("os-server-groups:index:all_projects")
        project = None
    start = count_of(call, "offset") or 0
    found = await list_groups(call.top, project)
    return {"server_groups": [views.group(g, call.version) for g in found[start : start + limit_of(call)]]}


async def show(call: Call) -> Body:
    return {"server_group": views.group(await _find(call, "os-server-groups:show"), call.version)}


async def create(call: Call) -> Body:
    asked = call.body["server_group"]
    policy = asked["policy"] if "policy" in asked else asked["policies"][0]
    rules = asked.get("rules") or {}
    if rules and policy != "anti-affinity":
        raise BadRequest("Only anti-affinity policy supports rules.")
    limit = rules.get("max_server_per_host")
    group = ServerGroup(
        uuid=ambient.new_uuid(),
        name=asked["name"],
        project=call.identity.project,
        user=call.identity.user,
        policy=policy,
        created=ambient.now(),
        max_server_per_host=None if limit is None else number(limit),
    )
    await create_group(call.top, group)
    return {"server_group": views.group(group, call.version)}


async def delete(call: Call) -> None:
    await delete_group(call.top, (await _find(call, "os-server-groups:delete")).uuid)


async def _find(call: Call, rule: str) -> ServerGroup:
    """Raises NotFound, for a group of a project that the asker has no say in too: that it exists is not told."""
    group = await get_group(call.top, call.params["id"])
    if not call.allows(rule, project=group.project):
        raise missing(group.uuid)
    return group
