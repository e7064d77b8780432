"""`kilonova story`: a server's life from its records, wherever they are; works with every service stopped."""

import asyncio

from control.cells.registry import Cells
from control.secrets import SiteKey
from control.servers.find import key_in_cell
from kv.client import Etcd
from kv.keys import Cell, Global
from kv.store import Store
from schemas.errors import NotFound
from schemas.operation import Line, Operation
from schemas.server import Instance
from schemas.settings import Settings
from schemas.shards import shard_of


def tell_story(settings: Settings, server: str) -> None:
    """Prints it. Raises NotFound for a server that no record speaks of."""
    for line in asyncio.run(_story(settings, server)):
        print(line)


async def _story(settings: Settings, server: str) -> list[str]:
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix)
    key = SiteKey.load(settings.top.site_key_file)
    cells = Cells(store, key, "story", with_bus=False, like_store=settings.top.store)
    following = asyncio.create_task(cells.run())
    try:
        await cells.mappings.synced.wait()
        return await _tell(store, cells, server)
    finally:
        following.cancel()
        await cells.close()
        await etcd.close()


async def _tell(store: Store, cells: Cells, server: str) -> list[str]:
    shard = shard_of(server)
    mapping, request, building = await store.read(
        Global.INSTANCES(server), Global.REQUESTS(server), Global.OPERATIONS(shard, server)
    )
    allocation = await store.get(Global.ALLOCATIONS(server))
    out: list[str] = []
    if mapping:
        where = mapping.value.cell or "no cell yet"
        out.append(f"server {server}: project {mapping.value.project}, {where}, attempt {mapping.value.attempt}")
    if request:
        out += _state(request.value.instance)
    if allocation:
        out.append(f"  claimed: {allocation.value.resources}")
    lines: dict[tuple[str, str], Line] = {}
    pending: list[str] = []
    if building:
        pending.append(_pending("at the top", building.value))
        _add(lines, building.value.story)
    names = [mapping.value.cell] if mapping and mapping.value.cell else [*cells.names(), "cell0"]
    for name in names:
        cell = cells.store(name)
        if mapping:
            instance, operation = await cell.read(key_in_cell(mapping.value), Cell.OPERATIONS(shard, server))
            out += _state(instance.value) if instance else []
            if operation:
                pending.append(_pending(f"in {name}", operation.value))
                _add(lines, operation.value.story)
        for stored in await cell.range(Cell.ACTIONS.under(server, "")):
            _add(lines, stored.value.story)
    if not out and not lines:
        raise NotFound(f"no record speaks of server {server}: name it by its id")
    if not mapping:
        out.append(f"server {server}: gone")
    return [
        *out,
        *(f"  {x.at.isoformat(timespec='milliseconds')}  {x.text}" for _, x in sorted(lines.items())),
        *pending,
    ]


def _add(lines: dict[tuple[str, str], Line], story: tuple[Line, ...]) -> None:
    lines.update({(x.at.isoformat(), x.text): x for x in story})


def _state(instance: Instance) -> list[str]:
    out = [f"  {instance.name}: {instance.vm_state}, task {instance.task_state}, host {instance.host}"]
    if instance.fault:
        out.append(f"  fault: {instance.fault.message} {instance.fault.details}".rstrip())
    return out


def _pending(where: str, operation: Operation) -> str:
    return f"  now {where}: {operation.kind}, step {operation.step}, until {operation.deadline.isoformat()}"
