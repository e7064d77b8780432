"""What every process at the top holds: the global store and bus, the cells and the site key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from attrs import define

from bus.client import Bus
from control.cells.liveness import Liveness
from control.cells.registry import Cells
from control.secrets import SiteKey
from kv.client import Etcd
from kv.store import Store
from schemas.settings import Settings

REMEMBERS: Final = 10_000
"""decoded records that an API keeps of each store, each about 4 kB: some pages of the longest kind"""


@define(eq=False)
class Top:
    settings: Settings
    store: Store
    bus: Bus
    cells: Cells
    key: SiteKey
    liveness: Liveness


@asynccontextmanager
async def open_top(settings: Settings, name: str, *, cell_buses: bool, serving: bool = False) -> AsyncIterator[Top]:
    """Connects; the mappings are listed once before it yields, no cell is waited for. `serving`: for a process that
    answers many reads, which follows the hosts and keeps decoded records."""
    remembers = REMEMBERS if serving else 0
    key = SiteKey.load(settings.top.site_key_file)
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix, remembers)
    bus = await Bus.connect(settings.top.bus, name)
    chosen = settings.top
    cells = Cells(
        store, key, name, with_bus=cell_buses, like_store=chosen.store, like_bus=chosen.bus, remembers=remembers
    )
    liveness = Liveness(store, cells)
    following = [asyncio.create_task(cells.run(), name="cell mappings")]
    try:
        await cells.mappings.synced.wait()
        if serving:
            following.append(asyncio.create_task(liveness.run(), name="hosts"))
        yield Top(settings, store, bus, cells, key, liveness)
    finally:
        for task in following:
            task.cancel()
        await cells.close()
        await bus.drain()
        await etcd.close()
