"""Finds and lists servers wherever they are: still a request, in a cell, or in one that does not answer."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog
from attrs import evolve, frozen

from control.top import Top
from kv.keys import Cell, Global, Key, Span
from kv.store import Store
from kv.txn import Stored
from kv.windows import newest
from runtime import ambient
from schemas.codec import from_dict
from schemas.errors import BadRequest, NotFound, StoreUnavailable
from schemas.identity import Identity
from schemas.operation import Deleted
from schemas.server import CELL0, BuildRequest, Instance, InstanceMapping, ServerIndex, from_us, time_key, to_us

log = structlog.get_logger()

CELL_SECONDS: Final = 2.0
"""A cell that does not answer within this is shown as down."""
WINDOW: Final = 1000
"""lines of an index that are read at once"""
STRETCH: Final = 4
"""servers of one project from which on reading all between the first and the last is cheaper than each alone"""


@frozen
class Found:
    instance: Instance
    mapping: InstanceMapping
    cell: str | None
    """None: still a build request"""
    down: bool = False
    """Its cell did not answer: `instance` holds only what the top knows, vm_state `unknown`."""
    revision: int = 0
    """of the record in its cell; 0: it is made up of others"""


def instance_key(instance: Instance) -> Key[Instance]:
    return Cell.INSTANCES(instance.project, time_key(instance.created_us, instance.uuid))


def key_in_cell(mapping: InstanceMapping) -> Key[Instance]:
    return Cell.INSTANCES(mapping.project, time_key(to_us(mapping.created), mapping.uuid))


def not_found(uuid: str) -> NotFound:
    return NotFound(f"Instance {uuid} could not be found.")


async def find_server(top: Top, identity: Identity, uuid: str, *, any_project: bool = False) -> Found:
    """Linearizable. Raises NotFound, for another project's server too unless `any_project`."""
    for _ in range(2):  # a server may move from request to cell between the two reads
        mapping, request = await top.store.read(Global.INSTANCES(uuid), Global.REQUESTS(uuid))
        if mapping is None or not (any_project or mapping.value.project == identity.project):
            raise not_found(uuid)
        if request is not None:
            return Found(request.value.instance, mapping.value, None)
        cell = mapping.value.cell
        if cell is None:
            continue
        try:
            async with asyncio.timeout(CELL_SECONDS):
                stored = await top.cells.store(cell).get(key_in_cell(mapping.value))
        except (StoreUnavailable, TimeoutError, NotFound) as error:
            log.warning("cell down", cell=cell, reason=repr(error))
            return await _unknown(top, mapping.value)
        if stored is not None:
            return Found(stored.value, mapping.value, cell, revision=stored.mod_revision)
    raise not_found(uuid)


async def _unknown(top: Top, mapping: InstanceMapping) -> Found:
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


async def list_servers(
    top: Top,
    *,
    project: str | None,
    marker: str | None,
    limit: int,
    wants: Callable[[Instance], bool],
    changes_since: datetime | None = None,
    deleted: bool = False,
) -> list[Found]:
    """Newest first, at most `limit` that `wants` accepts; `project` None is all of them.

    Costs the page when everything is wanted, else what has to be looked at. With `changes_since` (or `deleted`)
    deleted servers are included (or alone), as long as they are kept. Raises BadRequest for an unknown marker.
    """
    span = Global.ALL_SERVERS.under() if project is None else Global.PROJECT_SERVERS.under(project)
    found: list[Found] = []
    if deleted or changes_since:
        found += [f for f in await _deleted(top, project, changes_since) if wants(f.instance)]
    if deleted:
        return sorted(found, key=_newest_first)[:limit]
    before = await _path_of_marker(top, marker, project) if marker else None
    page = min(WINDOW, max(limit, 1))
    while len(found) < limit or changes_since:
        lines = await newest(top.store, span, page, to_us(ambient.now()), before)
        for one in await _load(top, lines):
            if wants(one.instance) and (changes_since is None or one.instance.updated >= changes_since):
                found.append(one)
        if len(lines) < page:
            break
        before = lines[-1].key.path
    return sorted(found, key=_newest_first)[:limit]


def _newest_first(found: Found) -> tuple[int, str]:
    return -found.instance.created_us, found.instance.uuid


async def _path_of_marker(top: Top, marker: str, project: str | None) -> str:
    """A list from new to old goes on before this path."""
    mapping = await top.store.get(Global.INSTANCES(marker))
    if mapping is None or project not in (None, mapping.value.project):
        raise BadRequest(f"marker [{marker}] not found")
    when = time_key(to_us(mapping.value.created), marker)
    return (Global.ALL_SERVERS(when) if project is None else Global.PROJECT_SERVERS(project, when)).path


async def _load(top: Top, lines: Sequence[Stored[ServerIndex]]) -> list[Found]:
    """The servers that these lines of an index name. A line that knows the cell saves reading the mapping."""
    homes: defaultdict[str | None, list[InstanceMapping]] = defaultdict(list)
    unsure = [line.key.path[-36:] for line in lines if line.value.cell is None]
    for mapping in await top.store.read_all([Global.INSTANCES(u) for u in unsure]):
        if mapping:
            homes[mapping.value.cell].append(mapping.value)
    for line in lines:
        if line.value.cell is not None:
            homes[line.value.cell].append(_mapping_of(line))
    parts = await asyncio.gather(*(_load_home(top, cell, there) for cell, there in homes.items()))
    return [one for part in parts for one in part]


def _mapping_of(line: Stored[ServerIndex]) -> InstanceMapping:
    """What a line says of its server; who owns it is in its Instance."""
    when, uuid = line.key.path.rsplit("/", 1)[1].split("-", 1)
    return InstanceMapping(uuid, line.value.project, "", from_us(int(when)), line.value.cell)


async def _load_home(top: Top, cell: str | None, mappings: Sequence[InstanceMapping]) -> list[Found]:
    if cell is None:
        requests = await top.store.read_all([Global.REQUESTS(m.uuid) for m in mappings])
        missing = [m for m, r in zip(mappings, requests, strict=True) if r is None]
        return [
            *(_of_request(m, r) for m, r in zip(mappings, requests, strict=True) if r is not None),
            *await _again(top, missing),
        ]
    try:
        async with asyncio.timeout(CELL_SECONDS):
            stored = await _in_cell(top.cells.store(cell), mappings)
    except (StoreUnavailable, TimeoutError, NotFound) as error:
        log.warning("cell down", cell=cell, reason=repr(error))
        return [f for f in await asyncio.gather(*(_or_none(_unknown(top, m)) for m in mappings)) if f]
    there = [
        Found(s.value, m, cell, revision=s.mod_revision) for m, s in zip(mappings, stored, strict=True) if s is not None
    ]
    return there + await _again(top, [m for m, s in zip(mappings, stored, strict=True) if s is None])


async def _in_cell(store: Store, mappings: Sequence[InstanceMapping]) -> list[Stored[Instance] | None]:
    """They come from one stretch of an index, so those of a project stand side by side in the cell as well."""
    keys = [key_in_cell(m) for m in mappings]
    stretches: defaultdict[str, list[str]] = defaultdict(list)
    for mapping, key in zip(mappings, keys, strict=True):
        stretches[mapping.project].append(key.path)
    spans = [Span(min(paths), max(paths) + "\0", Instance) for paths in stretches.values() if len(paths) >= STRETCH]
    found = {s.key.path: s for s in await store.ranges(spans)}
    alone = [key for m, key in zip(mappings, keys, strict=True) if len(stretches[m.project]) < STRETCH]
    found |= {s.key.path: s for s in await store.read_all(alone) if s}
    return [found.get(key.path) for key in keys]


def _of_request(mapping: InstanceMapping, request: Stored[BuildRequest]) -> Found:
    return Found(request.value.instance, mapping, None)


async def _again(top: Top, mappings: Iterable[InstanceMapping]) -> list[Found]:
    """Those that left for a cell, or for good, between two reads."""
    everybody = Identity(user="", user_name="", project="", project_name="")
    found = await asyncio.gather(*(_or_none(find_server(top, everybody, m.uuid, any_project=True)) for m in mappings))
    return [f for f in found if f]


async def _or_none(finding: Awaitable[Found]) -> Found | None:
    try:
        return await finding
    except NotFound:
        return None


async def find_deleted(top: Top, identity: Identity, uuid: str, *, any_project: bool = False) -> Found:
    """A server that is gone and still remembered. Raises NotFound."""
    days = _days(top, None)
    for cell in [*top.cells.names(), CELL0]:
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CELL_SECONDS):
                kept = await top.cells.store(cell).read_all([Cell.DELETED(day, uuid) for day in days])
            for stored in kept:
                if stored and (any_project or stored.value.instance["project"] == identity.project):
                    return _remembered(stored.value, cell)
    raise not_found(uuid)


async def _deleted(top: Top, project: str | None, since: datetime | None) -> list[Found]:
    """Deleted servers that the cells still keep, changed since then."""
    days = _days(top, since)
    found = []
    for cell in [*top.cells.names(), CELL0]:
        try:
            async with asyncio.timeout(CELL_SECONDS):
                kept = [s for day in days for s in await top.cells.store(cell).range(Cell.DELETED.under(day, ""))]
        except (StoreUnavailable, TimeoutError, NotFound):
            continue
        recent = [s.value for s in kept if since is None or s.value.at >= since]
        found += [_remembered(d, cell) for d in recent if project in (None, d.instance["project"])]
    return found


def _days(top: Top, since: datetime | None) -> list[str]:
    """The days of deletion to look at: from then, or from when servers are kept at all, to today."""
    today = ambient.now().date()
    first = today - timedelta(days=top.settings.conductor.deleted_days)
    if since is not None:
        first = min(today, max(first, since.date()))
    return [(first + timedelta(days=n)).isoformat() for n in range((today - first).days + 1)]


def _remembered(deleted: Deleted, cell: str) -> Found:
    instance = from_dict(Instance, deleted.instance)
    mapping = InstanceMapping(instance.uuid, instance.project, instance.user, instance.created, cell)
    return Found(evolve(instance, vm_state="deleted", task_state=None), mapping, cell)
