"""Resource providers and the trees that they form."""

from datetime import datetime

from attrs import evolve, frozen

from control.placement.reading import Reading
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.errors import BadRequest, DuplicateName, HasChildren, NotFound, ProviderInUse
from schemas.identity import NameIndex
from schemas.placement import Children, Provider, Usages


@frozen
class Found:
    """A provider with its other half."""

    provider: Stored[Provider]
    usages: Stored[Usages]

    @property
    def generation(self) -> int:
        return self.usages.value.generation


def find(reading: Reading, uuid: str, *, whole: bool = True) -> Found:
    """`whole`: with its traits. Raises NotFound."""
    provider, usages = reading.get(Global.PROVIDERS(uuid), whole=whole), reading.get(Global.USAGES(uuid))
    if provider is None or usages is None:
        raise NotFound(f"No resource provider with uuid {uuid} found")
    return Found(provider, usages)


def change(purpose: str, found: Found, provider: Provider, now: datetime, *, raised: bool = True) -> tuple[Txn, int]:
    """Rewrites what a provider has, is or belongs to; the new generation, higher by one if `raised`."""
    generation = found.generation + raised
    usages = evolve(found.usages.value, generation=generation, updated=now)
    return Txn(purpose).replace(found.provider, provider).replace(found.usages, usages), generation


def create(reading: Reading, new: Provider) -> Txn:
    """Raises BadRequest without a name or for a parent that cannot be, DuplicateName."""
    if not new.name:
        raise _cannot_create(new, "name is required")
    parent = None
    if new.parent is not None:
        parent = reading.get(Global.PROVIDERS(new.parent))
        if new.parent == new.uuid:
            raise _cannot_create(
                new,
                "parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no "
                "parent.",
            )
        if parent is None:
            raise _cannot_create(new, "parent provider UUID does not exist.")
    name = Global.PROVIDER_NAMES(new.name)
    if reading.get(Global.PROVIDERS(new.uuid)):
        raise DuplicateName(f"Conflicting resource provider uuid: {new.uuid} already exists.")
    if reading.get(name):
        raise DuplicateName(f"Conflicting resource provider name: {new.name} already exists.")
    txn = (
        Txn("create provider")
        .create(Global.PROVIDERS(new.uuid), new)
        .create(Global.USAGES(new.uuid), Usages(updated=new.updated))
        .create(name, NameIndex(new.uuid))
    )
    if parent is not None:
        txn.unchanged(parent)
        _adopt(reading, txn, parent.value.uuid, new.uuid)
    return txn


def _cannot_create(new: Provider, reason: str) -> BadRequest:
    return BadRequest(
        f'Unable to create resource provider "{new.name}", {new.uuid}: Object action create failed because: {reason}'
    )


def rename(reading: Reading, uuid: str, name: str, parent: str | None, now: datetime, *, freely: bool) -> Txn:
    """Gives a provider its name and its parent; None makes it a root. Unless `freely`, a parent that is there stays.

    Raises NotFound, DuplicateName, BadRequest for a parent that cannot be.
    """
    found = find(reading, uuid)
    before = found.provider.value
    txn = Txn("rename provider")
    if parent != before.parent:
        _move(reading, txn, before, parent, freely=freely)
    elif parent == uuid:
        raise _cannot_save(uuid, "creating loop in the provider tree is not allowed.")
    if name != before.name:
        if reading.get(Global.PROVIDER_NAMES(name)):
            raise DuplicateName(f"Conflicting resource provider {name} already exists.")
        txn.create(Global.PROVIDER_NAMES(name), NameIndex(uuid)).delete(Global.PROVIDER_NAMES(before.name))
    return txn.replace(found.provider, evolve(before, name=name, parent=parent, updated=now))


def _move(reading: Reading, txn: Txn, provider: Provider, parent: str | None, *, freely: bool) -> None:
    if parent is not None:
        if reading.get(Global.PROVIDERS(parent)) is None:
            raise _cannot_save(provider.uuid, "parent provider UUID does not exist.", "create")
        if provider.parent is not None and not freely:
            raise _cannot_save(provider.uuid, "re-parenting a provider is not currently allowed.")
        for uuid, above in _chain(reading, parent):
            if uuid == provider.uuid:
                raise _cannot_save(provider.uuid, "creating loop in the provider tree is not allowed.")
            # Who is moved meanwhile could close a loop.
            txn.at(Global.PROVIDERS(uuid), above.mod_revision if above else 0)
        _adopt(reading, txn, parent, provider.uuid)
    elif not freely:
        raise _cannot_save(provider.uuid, "un-parenting a provider is not currently allowed.")
    if provider.parent is not None:
        _leave(reading, txn, provider.parent, provider.uuid)


def _cannot_save(uuid: str, reason: str, action: str = "update") -> BadRequest:
    """`action` as Placement words it, which is not always what was asked for."""
    return BadRequest(f"Unable to save resource provider {uuid}: Object action {action} failed because: {reason}")


def _chain(reading: Reading, uuid: str | None) -> list[tuple[str, Stored[Provider] | None]]:
    """A provider and all above it, the root last; None: not known, as in a view that is a moment behind."""
    chain: list[tuple[str, Stored[Provider] | None]] = []
    while uuid is not None and all(uuid != known for known, _ in chain):
        stored = reading.get(Global.PROVIDERS(uuid))
        chain.append((uuid, stored))
        uuid = stored.value.parent if stored else None
    return chain


def delete(reading: Reading, uuid: str) -> Txn:
    """Raises NotFound, HasChildren, ProviderInUse."""
    provider, usages = reading.get(Global.PROVIDERS(uuid)), reading.get(Global.USAGES(uuid))
    if provider is None or usages is None:
        raise NotFound(f"No resource provider with uuid {uuid} found for delete")
    children = Global.PROVIDER_CHILDREN(uuid)
    if reading.get(children):
        raise HasChildren(f"Unable to delete parent resource provider {uuid}: It has child resource providers.")
    if usages.value.used:
        raise ProviderInUse(f"Unable to delete resource provider {uuid}: Resource provider has allocations.")
    txn = Txn("delete provider").remove(provider).remove(usages).absent(children)
    txn.delete(Global.PROVIDER_NAMES(provider.value.name))
    if provider.value.parent is not None:
        _leave(reading, txn, provider.value.parent, uuid)
    return txn


def _adopt(reading: Reading, txn: Txn, parent: str, child: str) -> None:
    key = Global.PROVIDER_CHILDREN(parent)
    children = reading.get(key)
    if children is None:
        txn.create(key, Children(frozenset({child})))
    else:
        txn.replace(children, Children(children.value.uuids | {child}))


def _leave(reading: Reading, txn: Txn, parent: str, child: str) -> None:
    key = Global.PROVIDER_CHILDREN(parent)
    children = reading.get(key)
    if children is None:
        txn.absent(key)
        return
    left = children.value.uuids - {child}
    if left:
        txn.replace(children, Children(left))
    else:
        txn.remove(children)
