"""Forgets deleted servers: mapping, lines, spec, claim and charge of each go in one transaction.

Servers of one project share its usage record, so those that end together are forgotten together.
"""

import asyncio
from functools import partial
from typing import Final

from attrs import define, field

from control.cells.stores import Stores
from control.placement.groups import placed, without
from control.placement.resources import with_claim
from control.placement.topology import without_topology
from control.servers.quota import charged
from control.top import Top
from kv.keys import Global
from kv.shards import Shards
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, StoreUnavailable
from schemas.placement import Usages
from schemas.server import InstanceMapping, time_key, to_us
from schemas.shards import shard_of

MAX_SERVERS: Final = 16
"""taken together at most; fewer where their claims and groups make more writes than etcd takes"""


@define(eq=False)
class _Ended:
    mapping: Stored[InstanceMapping]
    done: asyncio.Future[None] = field(factory=lambda: asyncio.get_running_loop().create_future())


class Obituaries:
    def __init__(self, top: Top, shards: Shards) -> None:
        self._shards = shards
        self._top = top
        self._waiting: dict[str, list[_Ended]] = {}
        """by project, those under way first; an entry means that its task runs"""
        self._tasks: set[asyncio.Task[None]] = set()

    async def forget(self, mapping: Stored[InstanceMapping]) -> None:
        """Returns when it is committed. Raises CompareFailed when it must be looked at again."""
        ended = _Ended(mapping)
        project = mapping.value.project
        if project in self._waiting:
            self._waiting[project].append(ended)
        else:
            self._waiting[project] = [ended]
            task = asyncio.create_task(self._serve(project), name=f"obituaries of {project}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, project))
        await ended.done

    async def _serve(self, project: str) -> None:
        while waiting := self._waiting[project]:
            batch = waiting[:MAX_SERVERS]
            await self._together(project, batch)
            del waiting[: len(batch)]
        del self._waiting[project]

    def _ended(self, project: str, task: asyncio.Task[None]) -> None:
        """Nobody waits for a task that does not run any more, however it ended."""
        self._tasks.discard(task)
        if task.cancelled() or task.exception():
            _fail(self._waiting.pop(project), CompareFailed("not done: look again"))

    async def _together(self, project: str, batch: list[_Ended]) -> None:
        """Answers each of them."""
        try:
            txn = await self._release(project, batch)
            if len(batch) > 1 and not txn.fits:
                half = len(batch) // 2
                await self._together(project, batch[:half])
                await self._together(project, batch[half:])
                return
            await self._top.store.commit(txn)
        except StoreUnavailable as error:  # it says nothing of any one of them
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:  # whatever it is, it may concern one of them alone
                await self._together(project, [one])
        for one in batch:
            if not one.done.done():
                one.done.set_result(None)

    async def _release(self, project: str, batch: list[_Ended]) -> Txn:
        mappings = [one.mapping for one in batch]
        txn = Txn("forget server")
        for mapping in mappings:
            value = mapping.value
            when = time_key(to_us(value.created), value.uuid)
            txn.remove(mapping).delete(Global.SPECS(value.uuid))
            txn.delete(Global.PROJECT_SERVERS(project, when)).delete(Global.ALL_SERVERS(when))
            self._shards.guard(txn, shard_of(value.uuid))
        await add_release(self._top, txn, [m.value for m in mappings], refund=True)
        return txn


async def add_release(top: Stores, txn: Txn, mappings: list[InstanceMapping], *, refund: bool) -> None:
    """Adds what frees the claims of these servers, all of one project, and with `refund` their charges. Their groups
    know them without a host then, or with `refund` no more."""
    store = top.store
    await _leave_groups(top, txn, mappings, for_good=refund)
    allocations = [a for a in await store.read_all([Global.ALLOCATIONS(m.uuid) for m in mappings]) if a]
    providers = sorted({provider for a in allocations for provider in a.value.resources})
    usages: dict[str, Stored[Usages]] = {}
    for found in await store.read_all([Global.USAGES(p) for p in providers]):
        if found:
            usages[found.key.path] = found
    freed = {path: stored.value for path, stored in usages.items()}
    for allocation in allocations:
        txn.remove(allocation)
        for provider, amounts in allocation.value.resources.items():
            path = Global.USAGES(provider).path
            if path in freed:
                freed[path] = without_topology(with_claim(freed[path], amounts, -1), [allocation.value.consumer])
    for path, stored in usages.items():
        txn.replace(stored, freed[path])
    if not refund:
        return
    usage = await store.get(Global.QUOTA_USAGE(mappings[0].project))
    if usage is not None:
        spent = usage.value
        for mapping in mappings:
            spent = charged(spent, mapping.user, mapping.charge, -1)
        txn.replace(usage, spent)


async def _leave_groups(top: Stores, txn: Txn, mappings: list[InstanceMapping], *, for_good: bool) -> None:
    names = sorted({m.group for m in mappings if m.group})
    for stored in await top.store.read_all([Global.GROUPS(name) for name in names]):
        if stored is None:
            continue  # a group may be deleted before its servers
        group = stored.value
        members = [m.uuid for m in mappings if m.group == group.uuid and m.uuid in group.members]
        left = without(group, members) if for_good else group
        if not for_good:
            for server in members:
                left = placed(left, server, ())
        txn.replace(stored, left)


def _fail(batch: list[_Ended], error: BaseException) -> None:
    for one in batch:
        if not one.done.done():
            one.done.set_exception(error)
