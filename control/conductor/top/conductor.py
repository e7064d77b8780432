"""The super conductor: owns shards of the global store, runs their builds, applies what cells tell."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from bus.service import Service
from control.conductor.engine import Engine
from control.conductor.reaper import Reaper
from control.conductor.top.builds import Builds
from control.conductor.top.fences import CellFences
from control.conductor.top.hosts import HostSync
from control.conductor.top.leave import ImageLeave
from control.conductor.top.outboxes import Outboxes
from control.conductor.top.reconciler import Reconciler
from control.conductor.top.upkeep import Upkeep
from control.identity.keys import Keys
from control.images.grants import Grants
from control.placement.upkeep.records import Records
from control.placement.writer import Writer
from control.servers.find import days_of_deletion
from control.top import Top
from kv.keys import Global
from kv.shards import Shards
from runtime.health import Health
from runtime.process import drained, run_until
from schemas.messages import HostCall, HostCallReply, Wake
from schemas.server import CELL0
from schemas.subjects import call, cell_call, top_wake


class SuperConductor:
    def __init__(self, top: Top, keys: Keys, pod: str) -> None:
        settings = top.settings
        self._top = top
        self._service = Service(top.bus, "super-conductor", "0.1.0", "carries out what needs a claim or crosses cells")
        self._shards = Shards(top.store, pod, settings.conductor.lease_ttl, self._gained, self._lost, Global)
        fences = CellFences(self._shards)
        leave = ImageLeave(Grants(keys, settings.api.url), settings.api.image_grant_minutes)
        self._builds = Builds(top, self._shards, fences, leave)
        self._hosts = HostSync(top, self._shards)
        self._engine = Engine(
            top.store,
            self._shards,
            Global.OPERATIONS,
            self._service,
            top_wake,
            self._look,
            settings.conductor.rescan_seconds,
        )
        self._reaper = Reaper(
            lambda: top.cells.store(CELL0),
            self._shards.fences,
            lambda shard, txn: fences.commit(top.cells.store(CELL0), shard, txn),
            settings.conductor.deleted_days,
        )
        """cell0 has no conductor of its own"""
        self._outboxes = Outboxes(top, self._shards, fences, leave, self._engine.wake)
        self._upkeep = Upkeep(
            Records(top.store, top.cells, Writer(top.store, retries=2)),
            self._shards.fences,
            self._shards.guard,
            partial(days_of_deletion, top, None),
            settings.conductor.upkeep_seconds,
        )

        self._reconciler = Reconciler(top, self._shards.fences, self._shards.guard, fences)

    async def run(self, health: Health, stopping: asyncio.Event, *beside: Coroutine[Any, Any, None]) -> None:
        await self._service.start()
        await self._service.serve("call", call("*"), HostCall, self._call)
        health.checks["shards"] = lambda: self._shards.settled
        own = (self._outboxes, self._hosts, self._shards, self._engine, self._reaper, self._upkeep, self._reconciler)
        await run_until(stopping, *(part.run() for part in own), *beside)
        await drained(5, self._engine.drain(), self._service.stop())

    async def _look(self, shard: int, hint: Wake) -> bool:
        if await self._outboxes.look(shard, hint.server):
            return True
        return await self._builds.look(shard, hint.server) or self._outboxes.has_news_of(hint.server)

    async def _gained(self, shard: int) -> None:
        await self._engine.gained(shard)
        self._outboxes.wake_shard(shard)
        self._hosts.wake_shard(shard)

    async def _lost(self, shard: int) -> None:
        await self._engine.lost(shard)
        self._builds.forget(shard)

    async def _call(self, question: HostCall, _: str) -> HostCallReply:
        """Passes a read on to the cell."""
        return await self._top.cells.bus(question.cell).request(cell_call(question.cell), question, HostCallReply, 9.0)
