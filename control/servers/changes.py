"""Servers that were changed since a time: the answer to who polls. It costs what changed, not what there is."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from control.cells.liveness import TOP
from control.servers.find import CELL_SECONDS, Found, days_of_deletion, remembered
from control.servers.lists import Chooser, deleted_of
from control.top import Top
from kv.keys import Cell, Global
from runtime.slices import kept
from schemas.errors import NotFound, StoreUnavailable
from schemas.server import CELL0, Instance, InstanceMapping

log = structlog.get_logger()


async def changed_servers(top: Top, project: str | None, since: datetime, chosen: Chooser) -> list[Found]:
    """In no order, deleted ones included as long as they are kept; `project` None is all of them.

    Where it is not known how far a store had come then, everything is looked at. A cell that does not answer is left
    out.
    """
    revisions = top.liveness.revisions(since)
    found = await _building(top, project, revisions.get(TOP, 0))
    cells = [*top.cells.names(), CELL0]
    for part in await asyncio.gather(*(_in_cell(top, c, project, since, revisions.get(c, 0)) for c in cells)):
        found += part
    # A server that was handed over between two reads is there twice: its cell, which was read later, is right.
    by_uuid = {one.instance.uuid: one for one in found}
    return list(await chosen(await kept(by_uuid.values(), lambda f: f.instance.updated >= since)))


async def _building(top: Top, project: str | None, after: int) -> list[Found]:
    requests = await top.store.changed(Global.REQUESTS.under(), after)
    of_project = [s for s in requests if project in (None, s.value.instance.project)]
    return [
        Found(s.value.instance, _mapping(s.value.instance, None), None, revision=s.mod_revision) for s in of_project
    ]


async def _in_cell(top: Top, cell: str, project: str | None, since: datetime, after: int) -> Sequence[Found]:
    span = Cell.INSTANCES.under() if project is None else Cell.INSTANCES.under(project, "")
    try:
        store = top.cells.store(cell)
        async with asyncio.timeout(CELL_SECONDS):
            living = await store.changed(span, after)
            days = days_of_deletion(top, since)
            if project is None:
                spans = [Cell.DELETED.under(day, "") for day in days]
                deleted = await asyncio.gather(*(store.changed(span, after) for span in spans))
            else:
                of = [Cell.DELETED_OF.under(day, project, "") for day in days]
                lines = await asyncio.gather(*(store.changed(span, after) for span in of))
                deleted = [await deleted_of(store, [line for found in lines for line in found])]
    except (StoreUnavailable, TimeoutError, NotFound) as error:
        log.warning("cell down", cell=cell, reason=repr(error))
        return []
    gone = [remembered(s.value, cell) for kept in deleted for s in kept]
    return [
        *gone,
        *(Found(s.value, _mapping(s.value, cell), cell, revision=s.mod_revision) for s in living),
    ]


def _mapping(server: Instance, cell: str | None) -> InstanceMapping:
    return InstanceMapping(server.uuid, server.project, server.user, server.created, cell)
