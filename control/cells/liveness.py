"""Which hosts are up, watched: what an API shows beside every server without a read for each. The same watches tell how
far each store had come at which time."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Literal

from attrs import define, field

from control.cells.registry import CellAccess, Cells
from kv.cache import Cache, Change
from kv.keys import Cell, Global
from kv.store import Store
from runtime import ambient
from runtime.tasks import restarting
from schemas.host import Alive, HostMapping

HostStatus = Literal["UP", "DOWN", "MAINTENANCE", "UNKNOWN"]

CATCH_UP_SECONDS: Final = 2.0
NOTE_SECONDS: Final = 2.0
NOTES: Final = 900
"""half an hour of them"""
SKEW: Final = timedelta(seconds=10)
"""How far a change's time may be from when it was committed: the clocks of two machines, and a slow commit."""
TOP: Final = ""
"""the name under which the global store is noted"""


@define(eq=False)
class Moments:
    """Which revision a store had passed at which time, as far as this process knows."""

    _notes: deque[tuple[datetime, int]] = field(factory=lambda: deque(maxlen=NOTES))

    def note(self, at: datetime, revision: int) -> None:
        if revision:
            self._notes.append((at, revision))

    def before(self, moment: datetime) -> int:
        """A revision after which everything lies that says of itself that it was changed since then; 0: not known."""
        revision = 0
        for at, passed in self._notes:
            if at > moment - SKEW:
                break
            revision = passed
        return revision


class Liveness:
    """`run` follows the mappings at the top and the heartbeats in each cell."""

    def __init__(self, store: Store, cells: Cells) -> None:
        self._store = store
        self._moments: defaultdict[str, Moments] = defaultdict(Moments)
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
        if watched is None or not watched[0].connected:
            return "UNKNOWN"
        alive = watched[0].get(Cell.ALIVE(host))
        return "UP" if alive is not None and not alive.unready else "UNKNOWN"

    async def catch_up(self) -> None:
        """Returns when the mappings are as new as this call: who has just changed one sees it."""
        revision = await self._store.revision()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._mappings.wait_until(revision), CATCH_UP_SECONDS)

    def revisions(self, since: datetime) -> Mapping[str, int]:
        """By cell and for TOP, a revision that is older than every change that was made since then; 0: not known."""
        return {name: moments.before(since) for name, moments in self._moments.items()}

    async def run(self) -> None:
        self._cells.on_join.append(self._join)
        self._cells.on_leave.append(self._leave)
        for name in self._cells.names():
            self._join(self._cells.access(name))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._mappings.run(), name="host mappings")
                group.create_task(self._note(), name="moments")
        finally:
            for name in list(self._alive):
                self._leave(name)

    async def _note(self) -> None:
        """A revision that a watch has reached is one that the store has passed."""
        while True:
            now = ambient.now()
            self._moments[TOP].note(now, self._mappings.revision)
            for name, (cache, _) in self._alive.items():
                self._moments[name].note(now, cache.revision)
            await asyncio.sleep(NOTE_SECONDS)

    def _join(self, cell: CellAccess) -> None:
        name = cell.mapping.name
        if name not in self._alive and cell.mapping.bus is not None:
            cache = Cache(cell.store, Cell.ALIVE.under(), _ignore)
            self._alive[name] = cache, asyncio.create_task(restarting(cache.run, f"hosts alive in {name}"))

    def _leave(self, name: str) -> None:
        if name in self._alive:
            self._alive.pop(name)[1].cancel()
            self._moments.pop(name, None)


def _ignore(_: Change[HostMapping] | Change[Alive]) -> None:
    return None
