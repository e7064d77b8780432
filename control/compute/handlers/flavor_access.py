"""Which projects may use a private flavor."""

from control.compute import flavors_store as store
from control.compute.call import Body, Call
from control.compute.projects import check_project_known
from control.compute.views import flavors as views
from schemas.errors import Conflict, NotFound


async def index(call: Call) -> Body:
    flavor = await store.get_flavor(call.top.store, call.identity, call.params["flavor"])
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return views.access(flavor)


async def add(call: Call) -> Body:
    project = call.body["addTenantAccess"]["tenant"]
    await check_project_known(call, project)
    flavor = await store.get_flavor(call.top.store, call.identity, call.params["flavor"])
    if call.version >= 7 and flavor.is_public:
        raise Conflict("Can not add access to a public flavor.")
    changed = await store.change_flavor(call.top.store, flavor.id, lambda f: store.with_project(f, project))
    return views.access(changed)


async def remove(call: Call) -> Body:
    """The project may be gone meanwhile."""
    project = call.body["removeTenantAccess"]["tenant"]
    changed = await store.change_flavor(
        call.top.store, call.params["flavor"], lambda f: store.without_project(f, project)
    )
    return views.access(changed)
