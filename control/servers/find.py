"""Finds a server wherever it is: still a request, in a cell, in one that does not answer, or gone and remembered."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakKeyDictionary

import structlog
from attrs import evolve, frozen

from control.top import Top
from kv.keys import Cell, Global, Key
from runtime import ambient
from schemas.codec import from_dict
from schemas.errors import NotFound, StoreUnavailable
from schemas.identity import Identity
from schemas.operation import Deleted
from schemas.server import CELL0, Instance, InstanceMapping, time_key, to_us

log = structlog.get_logger()

CELL_SECONDS: Final = 2.0
"""A cell that does not answer within this is shown as down."""
REMEMBERED: Final = 20_000
"""servers whose home is remembered"""

_homes: WeakKeyDictionary[Top, dict[str, InstanceMapping]] = WeakKeyDictionary()
"""Mappings of servers that were seen in their cell after their launch: as long as such a server is there it is that
cell's, so that its record alone has to be read."""


@frozen
class Found:
    instance: Instance
    mapping: InstanceMapping
    cell: str | None
    """None: still a build request"""
    down: bool = False
    """Its cell did not answer: `instance` holds only what the top knows, vm_state `unknown`."""
    revision: int = 0
    """of the record that it was read from; 0: it is made up of others"""


def instance_key(instance: Instance) -> Key[Instance]:
    return Cell.INSTANCES(instance.project, time_key(instance.created_us, instance.uuid))


def key_in_cell(mapping: InstanceMapping) -> Key[Instance]:
    return Cell.INSTANCES(mapping.project, time_key(to_us(mapping.created), mapping.uuid))


def not_found(uuid: str) -> NotFound:
    return NotFound(f"Instance {uuid} could not be found.")


async def find_server(top: Top, identity: Identity, uuid: str, *, any_project: bool = False) -> Found:
    """Linearizable. Raises NotFound, for another project's server too unless `any_project`."""
    homes = _homes.setdefault(top, {})
    home = homes.get(uuid)
    if home is not None and (any_project or home.project == identity.project):
        found = await _at_home(top, home)
        if found is not None:
            return found
        homes.pop(uuid, None)
    looked = 0
    while True:  # a server may move between the two reads, and a build that fails more than once
        mapping, request = await top.store.read(Global.INSTANCES(uuid), Global.REQUESTS(uuid))
        if mapping is None or not (any_project or mapping.value.project == identity.project):
            raise not_found(uuid)
        if request is not None:
            return Found(request.value.instance, mapping.value, None, revision=request.mod_revision)
        cell = mapping.value.cell
        if cell is None or looked == mapping.mod_revision:
            raise not_found(uuid)  # deleted in its cell, the top only has to learn of it
        looked = mapping.mod_revision
        try:
            async with asyncio.timeout(CELL_SECONDS):
                stored = await top.cells.store(cell).get(key_in_cell(mapping.value))
        except (StoreUnavailable, TimeoutError, NotFound) as error:
            log.warning("cell down", cell=cell, reason=repr(error))
            return await unknown(top, mapping.value)
        if stored is not None:
            if stored.value.launched is not None:
                if len(homes) >= REMEMBERED:
                    del homes[next(iter(homes))]
                homes[uuid] = mapping.value
            return Found(stored.value, mapping.value, cell, revision=stored.mod_revision)


async def _at_home(top: Top, mapping: InstanceMapping) -> Found | None:
    """The server where it was seen before; None when that is no longer certain."""
    cell = mapping.cell or ""
    try:
        async with asyncio.timeout(CELL_SECONDS):
            stored = await top.cells.store(cell).get(key_in_cell(mapping))
    except (StoreUnavailable, TimeoutError):
        return await unknown(top, mapping)
    except NotFound:
        return None
    if stored is None or stored.value.launched is None:
        return None
    return Found(stored.value, mapping, cell, revision=stored.mod_revision)


async def unknown(top: Top, mapping: InstanceMapping) -> Found:
    """What the top knows of a server whose cell is down."""
    spec = await top.store.get(Global.SPECS(mapping.uuid))
    if spec is None:
        raise not_found(mapping.uuid)
    instance = Instance(
        uuid=mapping.uuid,
        project=mapping.project,
        user=mapping.user,
        name="",
        hostname="",
        created=mapping.created,
        updated=mapping.created,
        flavor=spec.value.flavor,
        image=spec.value.image,
        vm_state="unknown",
        availability_zone=spec.value.availability_zone,
    )
    return Found(instance, mapping, mapping.cell, down=True)


async def find_deleted(top: Top, identity: Identity, uuid: str, *, any_project: bool = False) -> Found:
    """A server that is gone and still remembered. Raises NotFound."""
    days = days_of_deletion(top, None)

    async def kept_in(cell: str) -> Found | None:
        with suppress(StoreUnavailable, TimeoutError, NotFound):
            async with asyncio.timeout(CELL_SECONDS):
                kept = await top.cells.store(cell).read_all([Cell.DELETED(day, uuid) for day in days])
            for stored in kept:
                if stored and (any_project or stored.value.instance["project"] == identity.project):
                    return remembered(stored.value, cell)
        return None

    for found in await asyncio.gather(*(kept_in(cell) for cell in [*top.cells.names(), CELL0])):
        if found is not None:
            return found
    raise not_found(uuid)


def days_of_deletion(top: Top, since: datetime | None) -> list[str]:
    """The days of deletion to look at: from then, or from when servers are kept at all, to today."""
    today = ambient.now().date()
    first = today - timedelta(days=top.settings.conductor.deleted_days)
    if since is not None:
        first = min(today, max(first, since.date()))
    return [(first + timedelta(days=n)).isoformat() for n in range((today - first).days + 1)]


def remembered(deleted: Deleted, cell: str) -> Found:
    instance = from_dict(Instance, deleted.instance)
    mapping = InstanceMapping(instance.uuid, instance.project, instance.user, instance.created, cell)
    return Found(evolve(instance, vm_state="deleted", task_state=None), mapping, cell)
