"""What reading the whole site takes. A Top is one; an operator's command makes do without a bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from attrs import frozen

from control.cells.registry import Cells
from control.secrets import SiteKey
from kv.client import Etcd
from kv.store import Store
from schemas.settings import Settings


class Stores(Protocol):
    @property
    def settings(self) -> Settings: ...

    @property
    def store(self) -> Store: ...

    @property
    def cells(self) -> Cells: ...


@frozen(eq=False)
class _Stores:
    settings: Settings
    store: Store
    cells: Cells


@asynccontextmanager
async def open_stores(settings: Settings, name: str) -> AsyncIterator[Stores]:
    """The global store and every cell's; works with every service stopped."""
    chosen = settings.top
    key = SiteKey.load(chosen.site_key_file)
    etcd = Etcd(chosen.store)
    store = Store(etcd, chosen.prefix)
    cells = Cells(store, key, name, with_bus=False, like_store=chosen.store, like_bus=chosen.bus)
    following = asyncio.create_task(cells.run(), name="cell mappings")
    try:
        await store.revision()  # says at once when etcd does not answer
        await cells.mappings.synced.wait()
        yield _Stores(settings, store, cells)
    finally:
        following.cancel()
        await cells.close()
        await etcd.close()
