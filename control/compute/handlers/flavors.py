"""Flavors."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from attrs import evolve

from control.compute import flavors_store as store
from control.compute.call import Answer, Body, Call
from control.compute.paging import page_of, with_next
from control.compute.schemas.common import number, truth
from control.compute.views import flavors as views
from schemas.errors import BadRequest
from schemas.flavor import Flavor
from schemas.numbers import whole_number

SORTS: dict[str, Callable[[Flavor], Any]] = {
    "flavorid": lambda f: f.id,
    "id": lambda f: f.id,
    "name": lambda f: f.name,
    "memory_mb": lambda f: f.memory_mb,
    "vcpus": lambda f: f.vcpus,
    "root_gb": lambda f: f.root_gb,
    "ephemeral_gb": lambda f: f.ephemeral_gb,
    "swap": lambda f: f.swap_mb,
    "is_public": lambda f: f.is_public,
    "disabled": lambda f: f.disabled,
    "rxtx_factor": lambda f: f.rxtx_factor,
    "description": lambda f: f.description or "",
}
"""The other keys that the schema takes are the same for all flavors here."""


async def index(call: Call) -> Body:
    page = await _page(call)
    shown = [views.brief(f, call.urls, call.version) for f in page]
    return with_next(call, "flavors", shown, page[-1].id if page else None)


async def detail(call: Call) -> Body:
    page = await _page(call)
    specs = call.allows("os-flavor-extra-specs:index")
    shown = [views.full(f, call.urls, call.version, specs=specs) for f in page]
    return with_next(call, "flavors", shown, page[-1].id if page else None)


async def show(call: Call) -> Body:
    return _full(call, await store.get_flavor(call.top.store, call.identity, call.params["flavor"]))


async def create(call: Call) -> Body:
    asked = call.body["flavor"]
    name, ident = asked["name"].strip(), asked.get("id")
    flavor = Flavor(
        id=str(uuid4()) if ident in (None, "auto") else str(ident),
        name=name,
        vcpus=number(asked["vcpus"]),
        memory_mb=number(asked["ram"]),
        root_gb=number(asked["disk"]),
        ephemeral_gb=number(asked.get("OS-FLV-EXT-DATA:ephemeral", 0)),
        swap_mb=number(asked.get("swap", 0)),
        rxtx_factor=float(asked.get("rxtx_factor", 1.0)),
        is_public=truth(asked.get("os-flavor-access:is_public", True)),
        description=asked.get("description"),
    )
    await store.create_flavor(call.top.store, flavor)
    return _full(call, flavor)


async def update(call: Call) -> Body:
    description = call.body["flavor"]["description"]
    changed = await store.change_flavor(
        call.top.store, call.params["flavor"], lambda f: evolve(f, description=description)
    )
    return _full(call, changed)


async def delete(call: Call) -> Answer | None:
    await store.delete_flavor(call.top.store, call.params["flavor"])
    return None


def _full(call: Call, flavor: Flavor) -> Body:
    specs = call.allows("os-flavor-extra-specs:index")
    return {"flavor": views.full(flavor, call.urls, call.version, specs=specs)}


async def _page(call: Call) -> list[Flavor]:
    wants = _filter(call)
    key = SORTS.get(call.arg("sort_key") or "flavorid", SORTS["flavorid"])
    every = await store.all_flavors(call.top.store)
    found = [f for f in every if call.identity.is_admin or store.visible(f, call.identity)]
    found.sort(key=lambda f: (key(f), f.id), reverse=call.arg("sort_dir") == "desc")
    return page_of(call, found, lambda f: f.id, wants=wants)


def _filter(call: Call) -> Callable[[Flavor], bool]:
    ram, disk = _least(call, "minRam"), _least(call, "minDisk")
    public = _public(call)

    def wants(flavor: Flavor) -> bool:
        if flavor.disabled or flavor.memory_mb < ram or flavor.root_gb < disk:
            return False
        return public is None or flavor.is_public == public

    return wants


def _public(call: Call) -> bool | None:
    """None: both kinds. Only an admin has a choice; without one the private flavors are left out of an admin's list,
    and a user's list has those of the project."""
    asked = call.arg("is_public")
    if not call.identity.is_admin:
        return None
    if asked is None:
        return True
    word = asked.strip().lower()
    if word in ("none", ""):
        return None
    if word in ("t", "true", "on", "y", "yes", "1"):
        return True
    if word in ("f", "false", "off", "n", "no", "0"):
        return False
    raise BadRequest(f"Invalid is_public filter [{asked}]")


def _least(call: Call, name: str) -> int:
    asked = call.arg(name)
    least = whole_number(asked.strip()) if asked else 0
    if least is None:
        raise BadRequest(f"Invalid {name} filter [{asked}]")
    return least
