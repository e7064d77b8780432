"""Flavors in the global store: a record by id, an index that keeps names unique."""

from collections.abc import Callable

from attrs import evolve

from control.servers.commits import retried
from kv.keys import Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, Conflict, NotFound
from schemas.flavor import Flavor
from schemas.identity import Identity, NameIndex


def missing(flavor: str) -> NotFound:
    return NotFound(f"Flavor {flavor} could not be found.")


def visible(flavor: Flavor, identity: Identity) -> bool:
    return flavor.is_public or identity.is_admin or identity.project in flavor.projects


async def get_flavor(store: Store, identity: Identity, flavor: str) -> Flavor:
    """Raises NotFound, also when the asker may not use it."""
    found = await _stored(store, flavor)
    if not visible(found.value, identity):
        raise missing(flavor)
    return found.value


async def all_flavors(store: Store) -> list[Flavor]:
    return [s.value for s in await store.range(Global.FLAVORS.under())]


async def create_flavor(store: Store, flavor: Flavor) -> None:
    """Raises Conflict when its id or name is taken."""
    key, name = Global.FLAVORS(flavor.id), Global.FLAVOR_NAMES(flavor.name)
    try:
        await store.commit(Txn("create flavor").create(key, flavor).create(name, NameIndex(flavor.id)))
    except CompareFailed:
        if await store.get(name):
            raise Conflict(f"Flavor with name {flavor.name} already exists.") from None
        raise Conflict(f"Flavor with ID {flavor.id} already exists.") from None


async def delete_flavor(store: Store, flavor: str) -> None:
    """Raises NotFound. Servers keep their copies."""

    async def once() -> None:
        found = await _stored(store, flavor)
        await store.commit(Txn("delete flavor").remove(found).delete(Global.FLAVOR_NAMES(found.value.name)))

    await retried(once)


async def change_flavor(store: Store, flavor: str, change: Callable[[Flavor], Flavor]) -> Flavor:
    """The flavor after `change`, which may be called again when it lost a race. Raises NotFound."""

    async def once() -> Flavor:
        found = await _stored(store, flavor)
        changed = change(found.value)
        if changed != found.value:
            await store.commit(Txn("change flavor").replace(found, changed))
        return changed

    return await retried(once)


def with_project(flavor: Flavor, project: str) -> Flavor:
    """Raises Conflict when it has the access already."""
    if project in flavor.projects:
        raise Conflict(f"Flavor access already exists for flavor {flavor.id} and project {project} combination.")
    return evolve(flavor, projects=tuple(sorted({*flavor.projects, project})))


def without_project(flavor: Flavor, project: str) -> Flavor:
    """Raises NotFound when it has no such access."""
    if project not in flavor.projects:
        raise NotFound(f"Flavor access not found for {flavor.id} / {project} combination.")
    return evolve(flavor, projects=tuple(p for p in flavor.projects if p != project))


async def _stored(store: Store, flavor: str) -> Stored[Flavor]:
    found = await store.get(Global.FLAVORS(flavor))
    if found is None:
        raise missing(flavor)
    return found
