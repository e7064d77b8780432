"""Why a request finds the hosts that it finds: for operators, of a server or of what a create would ask."""

from typing import Final

from control.compute.call import Body, Call
from control.servers.draft import image_ref
from kv.keys import Global
from schemas.codec import to_dict
from schemas.errors import BadRequest, NotFound
from schemas.messages import Explain, Explained
from schemas.server import RequestSpec
from schemas.subjects import SCHEDULER_EXPLAIN

SECONDS: Final = 10.0


async def show(call: Call) -> Body:
    """Of a server, as if it had to be placed now. Raises NotFound."""
    server = call.params["server"]
    stored = await call.top.store.get(Global.SPECS(server))
    if stored is None:
        raise NotFound(f"Instance {server} could not be found.")
    return await _ask(call, stored.value)


async def create(call: Call) -> Body:
    """Of a flavor, image and so on; nothing is made. Raises BadRequest for what is not there."""
    asked, hints = call.body["explain"], call.body["explain"].get("scheduler_hints", {})
    flavor = await call.top.store.get(Global.FLAVORS(str(asked["flavorRef"])))
    if flavor is None:
        raise BadRequest(f"Flavor {asked['flavorRef']} could not be found.")
    image = await call.top.store.get(Global.IMAGES(asked["imageRef"])) if "imageRef" in asked else None
    if "imageRef" in asked and image is None:
        raise BadRequest("Can not find requested image")
    spec = RequestSpec(
        uuid="",
        project=asked.get("project_id", call.identity.project),
        user=call.identity.user,
        flavor=flavor.value.copy_for_server(),
        image=image_ref(image.value) if image else None,
        availability_zone=asked.get("availability_zone"),
        requested_host=asked.get("host"),
        scheduler_hints=hints,
        group=hints.get("group"),
    )
    return await _ask(call, spec)


async def _ask(call: Call, spec: RequestSpec) -> Body:
    told = await call.top.bus.request(SCHEDULER_EXPLAIN, Explain(spec), Explained, SECONDS)
    body = to_dict(told)
    body.pop("record", None)
    return {"explanation": {"obstacles": [], "best": [], **body}}
