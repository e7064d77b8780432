"""Host aggregates."""

from control.cells import aggregates
from control.compute.call import Body, Call
from control.compute.views import aggregates as views
from control.servers import precache
from kv.keys import Global
from schemas.aggregate import ZONE_KEY, Aggregate
from schemas.errors import BadRequest, NotFound
from schemas.numbers import whole_number


async def index(call: Call) -> Body:
    return {"aggregates": [views.full(a, call.version) for a in await aggregates.list_aggregates(call.top)]}


async def show(call: Call) -> Body:
    return _shown(call, await aggregates.get_aggregate(call.top, _id(call)))


async def create(call: Call) -> Body:
    asked = call.body["aggregate"]
    made = await aggregates.create_aggregate(call.top, asked["name"].strip(), asked.get("availability_zone"))
    return {"aggregate": views.brief(made, call.version)}


async def update(call: Call) -> Body:
    asked = call.body["aggregate"]
    zone = {ZONE_KEY: asked["availability_zone"]} if "availability_zone" in asked else {}
    name = asked["name"].strip() if "name" in asked else None
    return _shown(call, await aggregates.rename_aggregate(call.top, _id(call), name, zone))


async def delete(call: Call) -> None:
    await aggregates.delete_aggregate(call.top, _id(call))


async def add_host(call: Call) -> Body:
    return _shown(call, await aggregates.add_host(call.top, _id(call), call.body["add_host"]["host"]))


async def remove_host(call: Call) -> Body:
    return _shown(call, await aggregates.remove_host(call.top, _id(call), call.body["remove_host"]["host"]))


async def set_metadata(call: Call) -> Body:
    metadata = call.body["set_metadata"]["metadata"]
    return _shown(call, await aggregates.set_metadata(call.top, _id(call), metadata))


async def cache_images(call: Call) -> None:
    """Each host of the aggregate is asked in its own time. Raises BadRequest, NotFound."""
    images = [image["id"] for image in call.body["cache"]]
    if len(set(images)) != len(images):
        raise BadRequest("Duplicate images in request")
    aggregate = await aggregates.get_aggregate(call.top, _id(call))
    for ident, stored in zip(images, await call.top.store.read_all([Global.IMAGES(i) for i in images]), strict=True):
        if stored is None:
            raise NotFound(f"Image {ident} could not be found.")
    hosts = await call.top.store.read_all([Global.HOSTS(host) for host in aggregate.hosts])
    await precache.cache_images(call.top, call.identity, [h.value for h in hosts if h], images)


def _id(call: Call) -> int:
    """Raises BadRequest for what is no number; a negative one is one that no aggregate has."""
    ident = call.params["id"]
    number = whole_number(ident)
    if number is None:
        raise BadRequest(f"Invalid input for field/attribute id. Value: {ident}. '{ident}' is not a number")
    return number


def _shown(call: Call, aggregate: Aggregate) -> Body:
    return {"aggregate": views.full(aggregate, call.version)}
