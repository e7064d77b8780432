"""What every process at the top holds: the global store and bus, the cells and the site key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define

from bus.client import Bus
from control.cells.registry import Cells
from control.secrets import SiteKey
from kv.client import Etcd
from kv.store import Store
from schemas.settings import Settings


@define(eq=False)
class Top:
    settings: Settings
    store: Store
    bus: Bus
    cells: Cells
    key: SiteKey


@asynccontextmanager
async def open_top(settings: Settings, name: str, *, cell_buses: bool) -> AsyncIterator[Top]:
    """Connects; the mappings are listed once before it yields, no cell is waited for."""
    key = SiteKey.load(settings.top.site_key_file)
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix)
    bus = await Bus.connect(settings.top.bus, name)
    chosen = settings.top
    cells = Cells(store, key, name, with_bus=cell_buses, like_store=chosen.store, like_bus=chosen.bus)
    following = asyncio.create_task(cells.run(), name="cell mappings")
    try:
        await cells.mappings.synced.wait()
        yield Top(settings, store, bus, cells, key)
    finally:
        following.cancel()
        await cells.close()
        await bus.drain()
        await etcd.close()
