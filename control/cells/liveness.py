"""Which hosts are up, watched: what an API shows beside every server without a read for each."""

import asyncio
from typing import Literal

from control.cells.registry import CellAccess, Cells
from kv.cache import Cache, Change
from kv.keys import Cell, Global
from kv.store import Store
from schemas.host import Alive, HostMapping

HostStatus = Literal["UP", "DOWN", "MAINTENANCE", "UNKNOWN"]


class Liveness:
    """`run` follows the mappings at the top and the heartbeats in each cell."""

    def __init__(self, store: Store, cells: Cells) -> None:
        self._mappings = Cache(store, Global.HOSTS.under(), _ignore)
        self._cells = cells
        self._alive: dict[str, tuple[Cache[Alive], asyncio.Task[None]]] = {}

    def status(self, cell: str, host: str) -> HostStatus:
        """UNKNOWN also while the host's cell is not heard of."""
        mapping = self._mappings.items.get(Global.HOSTS(host).path)
        if mapping and mapping.value.forced_down:
            return "DOWN"
        if mapping and mapping.value.disabled:
            return "MAINTENANCE"
        watched = self._alive.get(cell)
        up = watched is not None and watched[0].connected and Cell.ALIVE(host).path in watched[0].items
        return "UP" if up else "UNKNOWN"

    async def run(self) -> None:
        self._cells.on_join.append(self._join)
        self._cells.on_leave.append(self._leave)
        for name in self._cells.names():
            self._join(self._cells.access(name))
        try:
            await self._mappings.run()
        finally:
            for name in list(self._alive):
                self._leave(name)

    def _join(self, cell: CellAccess) -> None:
        name = cell.mapping.name
        if name not in self._alive and cell.mapping.bus is not None:
            cache = Cache(cell.store, Cell.ALIVE.under(), _ignore)
            self._alive[name] = cache, asyncio.create_task(cache.run(), name=f"hosts alive in {name}")

    def _leave(self, name: str) -> None:
        if name in self._alive:
            self._alive.pop(name)[1].cancel()


def _ignore(_: Change[HostMapping] | Change[Alive]) -> None:
    return None
