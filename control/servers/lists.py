"""Lists servers, newest first: a page costs the page, of one project and of all."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from control.servers.find import (
    CELL_SECONDS,
    Found,
    days_of_deletion,
    find_server,
    remembered,
    unknown,
)
from control.top import Top
from kv.keys import Cell, Global, Span
from kv.store import Store
from kv.txn import Stored
from kv.windows import newest
from runtime import ambient
from runtime.slices import sliced, smallest
from schemas.errors import NotFound, StoreUnavailable
from schemas.identity import Identity
from schemas.operation import Deleted
from schemas.server import CELL0, Instance, InstanceMapping, ServerIndex, from_us, to_us

log = structlog.get_logger()

MAX_WINDOW: Final = 1000
"""lines of an index that are read at once"""
GROWTH: Final = 4
"""... more each time, when filters left some out of a page"""
UUID_LENGTH: Final = 36

Line = Stored[ServerIndex]
Chooser = Callable[[Sequence[Found]], Awaitable[Sequence[Found]]]
"""Which of some servers a list has"""


async def everything(found: Sequence[Found]) -> Sequence[Found]:
    return found


async def list_servers(
    top: Top,
    *,
    project: str | None,
    limit: int,
    after: str | None = None,
    chosen: Chooser = everything,
    deleted: bool = False,
) -> list[Found]:
    """At most `limit` of the `chosen` ones, those created before the place `after`; `project` None is all of them.

    Costs the page when everything is chosen, else what has to be looked at. With `deleted` these are the deleted
    servers, as long as they are kept.
    """
    if deleted:
        return await smallest(await chosen(await _deleted(top, project)), newest_first, limit)
    span = Global.ALL_SERVERS.under() if project is None else Global.PROJECT_SERVERS.under(project)
    found: list[Found] = []
    before = _path_of(after, project) if after else None
    page = min(MAX_WINDOW, max(limit, 1))
    while len(found) < limit:
        lines = await newest(top.store, span, page, to_us(ambient.now()), before)
        found += sorted(await chosen(await _load(top, lines)), key=newest_first)  # windows are newest first too
        if len(lines) < page:
            break
        before, page = lines[-1].key.path, min(MAX_WINDOW, page * GROWTH)
    return found[:limit]


def newest_first(found: Found) -> tuple[int, str]:
    return -found.instance.created_us, found.instance.uuid


def _path_of(place: str, project: str | None) -> str:
    """A list from new to old goes on before this path."""
    return (Global.ALL_SERVERS(place) if project is None else Global.PROJECT_SERVERS(project, place)).path


async def _load(top: Top, lines: Sequence[Line]) -> list[Found]:
    """The servers that these lines of an index name. A line that knows the cell saves reading the mapping."""
    by_cell: defaultdict[str, list[Line]] = defaultdict(list)
    homeless: list[Line] = []
    for line in lines:
        if line.value.cell is None:
            homeless.append(line)
        else:
            by_cell[line.value.cell].append(line)
    parts = await asyncio.gather(
        *(_load_cell(top, cell, there) for cell, there in by_cell.items()),
        *([_load_requests(top, homeless)] if homeless else []),
    )
    return [one for part in parts for one in part]


async def _load_requests(top: Top, lines: Sequence[Line]) -> list[Found]:
    """Those that were in no cell when their lines were read."""
    uuids = [_uuid(line) for line in lines]
    requests = await top.store.read_all([Global.REQUESTS(uuid) for uuid in uuids])
    found = [
        Found(r.value.instance, _mapping(r.value.instance, None), None, revision=r.mod_revision) for r in requests if r
    ]
    return found + await _again(top, (u for u, r in zip(uuids, requests, strict=True) if r is None))


async def _load_cell(top: Top, cell: str, lines: Sequence[Line]) -> list[Found]:
    try:
        async with asyncio.timeout(CELL_SECONDS):
            records = await top.cells.store(cell).ranges(_spans(lines))
    except (StoreUnavailable, TimeoutError, NotFound) as error:
        log.warning("cell down", cell=cell, reason=repr(error))
        found = await asyncio.gather(*(_or_none(unknown(top, _mapping_of(line))) for line in lines))
        return [f for f in found if f]
    stored = {one.value.uuid: one for one in records}
    there, missing = [], []
    for line in lines:
        one = stored.get(uuid := _uuid(line))
        if one is None:
            missing.append(uuid)
        else:
            there.append(Found(one.value, _mapping(one.value, cell), cell, revision=one.mod_revision))
    return there + await _again(top, missing)


def _spans(lines: Sequence[Line]) -> list[Span[Instance]]:
    """Where a cell keeps these servers: one span a project, from the first to the last. A page of a list has all of a
    project's servers of its time, so the spans hold little else."""
    tails: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        tails[line.value.project].append(line.key.path.rsplit("/", 1)[1])
    return [
        Span(Cell.INSTANCES(project, min(there)).path, Cell.INSTANCES(project, max(there)).path + "\0", Instance)
        for project, there in tails.items()
    ]


def _uuid(line: Line) -> str:
    return line.key.path[-UUID_LENGTH:]


def _mapping(server: Instance, cell: str | None) -> InstanceMapping:
    """As far as a server's own record tells it."""
    return InstanceMapping(server.uuid, server.project, server.user, server.created, cell)


def _mapping_of(line: Line) -> InstanceMapping:
    """What a line says of its server; who owns it is in its Instance."""
    when = line.key.path.rsplit("/", 1)[1].split("-", 1)[0]
    return InstanceMapping(_uuid(line), line.value.project, "", from_us(int(when)), line.value.cell)


async def _again(top: Top, uuids: Iterable[str]) -> list[Found]:
    """Those that left for a cell, or for good, between two reads."""
    everybody = Identity(user="", user_name="", project="", project_name="")
    found = await asyncio.gather(*(_or_none(find_server(top, everybody, u, any_project=True)) for u in uuids))
    return [f for f in found if f]


async def _or_none(finding: Awaitable[Found]) -> Found | None:
    try:
        return await finding
    except NotFound:
        return None


async def _deleted(top: Top, project: str | None) -> list[Found]:
    """Deleted servers that the cells still keep. One project's cost what it deleted, whatever others did."""
    days = days_of_deletion(top, None)
    found = []
    for cell in [*top.cells.names(), CELL0]:
        try:
            async with asyncio.timeout(CELL_SECONDS):
                store = top.cells.store(cell)
                kept = await (_deleted_of_all(store, days) if project is None else _deleted_of(store, days, project))
        except (StoreUnavailable, TimeoutError, NotFound):
            continue
        async for batch in sliced(kept):
            found += [remembered(stored.value, cell) for stored in batch]
    return found


async def _deleted_of_all(store: Store, days: Sequence[str]) -> list[Stored[Deleted]]:
    return [stored for day in days for stored in await store.range(Cell.DELETED.under(day, ""))]


async def _deleted_of(store: Store, days: Sequence[str], project: str) -> list[Stored[Deleted]]:
    return await deleted_of(store, await store.ranges([Cell.DELETED_OF.under(day, project, "") for day in days]))


async def deleted_of(store: Store, lines: Sequence[Stored[str]]) -> list[Stored[Deleted]]:
    """The deleted servers that these lines of the index of deletions name."""
    keys = [Cell.DELETED(day, uuid) for day, _, uuid in (line.key.path.split("/")[1:] for line in lines)]
    return [stored for stored in await store.read_all(keys) if stored]
