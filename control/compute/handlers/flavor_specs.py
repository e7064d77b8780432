"""A flavor's extra specs."""

from attrs import evolve

from control.compute import extra_specs
from control.compute import flavors_store as store
from control.compute.call import Body, Call
from schemas.errors import BadRequest, NotFound
from schemas.flavor import Flavor


async def index(call: Call) -> Body:
    return {"extra_specs": (await _flavor(call)).extra_specs}


async def show(call: Call) -> Body:
    flavor, key = await _flavor(call), call.params["id"]
    if key not in flavor.extra_specs:
        raise _missing(flavor, key)
    return {key: flavor.extra_specs[key]}


async def create(call: Call) -> Body:
    """Adds to what is there."""
    specs = {k: str(v) for k, v in call.body["extra_specs"].items()}
    await _change(call, specs)
    return {"extra_specs": specs}


async def update(call: Call) -> Body:
    key = call.params["id"]
    if key not in call.body:
        raise BadRequest("Request body and URI mismatch")
    spec = {key: str(call.body[key])}
    await _change(call, spec)
    return dict(spec)


async def delete(call: Call) -> None:
    key = call.params["id"]

    def drop(flavor: Flavor) -> Flavor:
        if key not in flavor.extra_specs:
            raise _missing(flavor, key)
        return evolve(flavor, extra_specs={k: v for k, v in flavor.extra_specs.items() if k != key})

    await store.change_flavor(call.top.store, call.params["flavor"], drop)


async def _flavor(call: Call) -> Flavor:
    return await store.get_flavor(call.top.store, call.identity, call.params["flavor"])


async def _change(call: Call, specs: dict[str, str]) -> None:
    """Raises BadRequest for a known extra spec with a value that it cannot have, from 2.86 on."""
    if call.version >= extra_specs.SINCE:
        extra_specs.check_specs(specs)
    await store.change_flavor(
        call.top.store,
        call.params["flavor"],
        lambda f: evolve(f, extra_specs={**f.extra_specs, **specs}),
    )


def _missing(flavor: Flavor, key: str) -> NotFound:
    return NotFound(f"Flavor {flavor.id} has no extra specs with key {key}.")
