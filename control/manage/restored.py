"""What has to be done before a site serves again with an etcd that was restored from a backup.

The restored store is older than everything around it: agents have seen higher generations, cells hold fences of leases
that were granted later, and the global store and the cells differ by what happened since the backup. Every service of
the site is stopped while this runs; run twice it does no harm.

1. *Generations* of all servers of a restored cell rise by a step that no server reaches by itself: from now on the
   agents accept commands again, and nothing that was commanded before the backup was restored.
2. *Fences* of the top in every cell go: each super conductor raises its own before its first write.
3. *The other store's word counts* where the two differ: it is the newer one. What was deleted since the backup is
   deleted again; a server that was made since is known again, by a cell's record or by what the top holds of it.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Final

from attrs import evolve

from control.cells.registry import CellAccess
from control.cells.stores import Stores
from control.conductor.top.obituaries import add_release
from control.servers.draft import mac_of
from control.servers.find import instance_key, key_in_cell
from control.servers.quota import charge_of, charged
from control.servers.reconcile import line_keys
from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.quota import QuotaUsage
from schemas.server import HostedServer, Instance, InstanceMapping, RequestSpec, ServerIndex
from schemas.shards import shard_of

GLOBAL: Final = "global"
"""names the global store among the restored ones"""
STEP: Final = 1_000_000
"""of generations: more commands than any server is given between a backup and its restoration"""
PAGE: Final = 200

Done = Counter[str]


async def reconcile_restored(top: Stores, restored: Collection[str]) -> Done:
    """`restored`: names of cells, and GLOBAL. How many records of which kind were changed."""
    done: Done = Counter()
    for cell in top.cells.all():
        await _drop_fences(cell.store, done)
        if cell.mapping.name in restored:
            await _raise_generations(cell.store, done)
    for cell in top.cells.all():
        name = cell.mapping.name
        if (GLOBAL in restored) != (name in restored):  # both from one backup agree
            await _agree(top, cell, done, top_is_newer=name in restored)
    return done


async def _drop_fences(store: Store, done: Done) -> None:
    for fence in await store.range(Cell.FENCES.under()):
        await store.commit(Txn("drop fence").remove(fence))
        done["fences removed"] += 1


async def _raise_generations(store: Store, done: Done) -> None:
    async def rise(stored: Stored[Instance]) -> None:
        server = stored.value
        operation = await store.get(Cell.OPERATIONS(shard_of(server.uuid), server.uuid))
        txn = Txn("raise generation").replace(stored, evolve(server, generation=server.generation + STEP))
        if operation is not None:
            txn.replace(operation, evolve(operation.value, generation=operation.value.generation + STEP))
        await store.commit(txn)
        done["generations raised"] += 1

    async for page in store.pages(Cell.INSTANCES.under(), PAGE):
        async with asyncio.TaskGroup() as group:
            for stored in page:
                group.create_task(rise(stored))


async def _agree(top: Stores, cell: CellAccess, done: Done, *, top_is_newer: bool) -> None:
    """Makes the older of the two stores agree with the newer one."""
    name, store = cell.mapping.name, cell.store

    async def look_up(stored: Stored[Instance]) -> None:
        mapping = await top.store.get(Global.INSTANCES(stored.value.uuid))
        if mapping is not None and mapping.value.cell == name:
            return
        if top_is_newer:
            await _forget_in_cell(store, stored)
            done["servers that were deleted since, removed from their cell"] += 1
        else:
            await _map(top, name, stored.value, mapping)
            done["servers that were made since, mapped again"] += 1

    async def look_down(mapping: Stored[InstanceMapping]) -> None:
        if mapping.value.cell != name or await store.get(key_in_cell(mapping.value)) is not None:
            return
        if not top_is_newer:
            await _forget_at_top(top, mapping)
            done["servers that were deleted since, forgotten"] += 1
        elif await _recreate(top, store, mapping.value):
            done["servers that were made since, recorded again without their names"] += 1
        else:
            done["servers of which too little is known, left alone"] += 1

    async for instances in store.pages(Cell.INSTANCES.under(), PAGE):
        for stored in instances:  # one after the other: they share usages
            await look_up(stored)
    async for mappings in top.store.pages(Global.INSTANCES.under(), PAGE):
        for mapping in mappings:
            await look_down(mapping)


async def _forget_in_cell(store: Store, stored: Stored[Instance]) -> None:
    server = stored.value
    txn = Txn("forget restored server").remove(stored).delete(Cell.USER_DATA(server.uuid))
    txn.delete(Cell.OPERATIONS(shard_of(server.uuid), server.uuid))
    if server.host:
        txn.delete(Cell.BY_HOST(server.host, server.uuid))
    await store.commit(txn)


async def _forget_at_top(top: Stores, mapping: Stored[InstanceMapping]) -> None:
    of_project, of_all = line_keys(mapping.value)
    uuid = mapping.value.uuid
    txn = Txn("forget restored server").remove(mapping).delete(of_project).delete(of_all).delete(Global.SPECS(uuid))
    txn.delete(Global.OPERATIONS(shard_of(uuid), uuid)).delete(Global.REQUESTS(uuid))
    await add_release(top, txn, [mapping.value], refund=True)
    await top.store.commit(txn)


async def _map(top: Stores, cell: str, server: Instance, known: Stored[InstanceMapping] | None) -> None:
    """Its claim is made by the super conductors' upkeep. A build that the backup still had is over."""
    charge = known.value.charge if known else charge_of(server.flavor)
    mapping = InstanceMapping(
        uuid=server.uuid,
        project=server.project,
        user=server.user,
        created=server.created,
        cell=cell,
        attempt=server.attempt,
        generation=server.generation,
        charge=charge,
        group=known.value.group if known else None,
    )
    of_project, of_all = line_keys(mapping)
    txn = Txn("map restored server").at(Global.INSTANCES(server.uuid), known.mod_revision if known else 0)
    txn.put(Global.INSTANCES(server.uuid), mapping).put(of_project, ServerIndex(server.project, cell))
    txn.put(of_all, ServerIndex(server.project)).delete(Global.REQUESTS(server.uuid))
    txn.delete(Global.OPERATIONS(shard_of(server.uuid), server.uuid))
    if known is None:
        spec = RequestSpec(
            uuid=server.uuid,
            project=server.project,
            user=server.user,
            flavor=server.flavor,
            image=server.image,
            availability_zone=server.pinned_zone,
            scheduler_hints=server.scheduler_hints,
        )
        txn.put(Global.SPECS(server.uuid), spec)
        key = Global.QUOTA_USAGE(server.project)
        usage = await top.store.get(key)
        after = charged(usage.value if usage else QuotaUsage(), server.user, charge, 1)
        txn.at(key, usage.mod_revision if usage else 0).put(key, after)
    await top.store.commit(txn)


async def _recreate(top: Stores, store: Store, mapping: InstanceMapping) -> bool:
    """A server that runs and that its cell does not know, by its claim and its request spec: without a record its host
    would remove the guest. What only the cell knew, such as its name, is gone."""
    spec, allocation = await top.store.read(Global.SPECS(mapping.uuid), Global.ALLOCATIONS(mapping.uuid))
    if spec is None or allocation is None:
        return False
    found = await top.store.read_all([Global.PROVIDERS(uuid) for uuid in allocation.value.resources])
    node = next((stored.value for stored in found if stored and stored.value.host), None)
    if node is None or node.host is None:
        return False
    name = f"restored-{mapping.uuid[:8]}"
    server = Instance(
        uuid=mapping.uuid,
        project=mapping.project,
        user=mapping.user,
        name=name,
        hostname=name,
        created=mapping.created,
        updated=ambient.now(),
        flavor=spec.value.flavor,
        image=spec.value.image,
        vm_state="active",
        generation=mapping.generation + STEP,
        attempt=mapping.attempt,
        host=node.host,
        node=node.name,
        instance_name=f"instance-{mapping.uuid[:8]}",
        launched=mapping.created,
        pinned_zone=spec.value.availability_zone,
        macs=(mac_of(mapping.uuid),),
        scheduler_hints=spec.value.scheduler_hints,
    )
    line = HostedServer(server.project, server.created_us)
    txn = (
        Txn("record restored server")
        .create(instance_key(server), server)
        .put(Cell.BY_HOST(node.host, server.uuid), line)
    )
    await store.commit(txn)
    return True
