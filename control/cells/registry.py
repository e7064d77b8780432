"""The top's connections to its cells, kept as the watched mappings say: no restart for a new or changed cell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
import structlog
from attrs import define, evolve

from bus.client import Bus
from control.secrets import SiteKey
from kv.backend import Backend
from kv.breaker import Breaker
from kv.cache import Cache, Change
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from schemas.errors import NotFound, Unavailable
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.server import CELL0
from schemas.settings import BusSettings, StoreSettings

log = structlog.get_logger()

_STORE: Final = StoreSettings()
_BUS: Final = BusSettings()


@define(eq=False)
class CellAccess:
    """One cell's store and, once it could be reached, bus."""

    mapping: CellMapping
    store: Store
    breaker: Breaker
    bus: Bus | None = None
    connecting: asyncio.Task[None] | None = None


class Cells:
    """`run` follows the mappings. `on_join` and `on_leave` tell who keeps something for each cell."""

    def __init__(
        self,
        store: Store,
        key: SiteKey,
        name: str,
        *,
        with_bus: bool,
        open_etcd: Callable[[StoreSettings], Backend] = Etcd,
        connect: Callable[[BusSettings, str], Awaitable[Bus]] = Bus.connect,
        like_store: StoreSettings = _STORE,
        like_bus: BusSettings = _BUS,
        remembers: int = 0,
    ) -> None:
        """What a mapping does not say, such as TLS, is as in `like_store` and `like_bus`. `remembers`: how many decoded
        records each cell's store keeps, see kv.memo."""
        self.mappings = Cache(store, Global.CELLS.under(), self._changed)
        self.on_join: list[Callable[[CellAccess], None]] = []
        self.on_leave: list[Callable[[str], None]] = []
        self._key = key
        self._name = name
        self._with_bus = with_bus
        self._open_etcd = open_etcd
        self._connect = connect
        self._like_store = evolve(like_store, user="", password="")
        self._like_bus = like_bus
        self._remembers = remembers
        self._cells: dict[str, CellAccess] = {}
        self._etcds: dict[StoreSettings, Breaker] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self.mappings.run()

    def names(self) -> list[str]:
        """All but cell0."""
        return [name for name in self._cells if name != CELL0]

    def all(self) -> list[CellAccess]:
        """cell0 too."""
        return list(self._cells.values())

    def enabled(self) -> frozenset[str]:
        return frozenset(n for n, c in self._cells.items() if n != CELL0 and not c.mapping.disabled)

    def answering(self) -> frozenset[str]:
        """Enabled cells whose etcd is not known to be down."""
        return frozenset(name for name in self.enabled() if not self._cells[name].breaker.open)

    def access(self, name: str) -> CellAccess:
        try:
            return self._cells[name]
        except KeyError:
            raise NotFound(f"no cell is called {name}") from None

    def store(self, name: str) -> Store:
        return self.access(name).store

    def bus(self, name: str) -> Bus:
        bus = self.access(name).bus
        if bus is None:
            raise Unavailable(f"the bus of cell {name} is not reached yet")
        return bus

    async def close(self) -> None:
        for cell in list(self._cells.values()):
            await self._disconnect(cell)
        for etcd in list(self._etcds.values()):
            await etcd.close()

    def _changed(self, change: Change[CellMapping]) -> None:
        old, new = change.old and change.old.value, change.new and change.new.value
        known = self._cells.get(old.name) if old else None
        if known and new and (known.mapping.store, known.mapping.bus) == (new.store, new.bus):
            known.mapping = new
            return
        if known:
            del self._cells[known.mapping.name]
            for leave in self.on_leave:
                leave(known.mapping.name)
            task = asyncio.create_task(self._disconnect(known))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if new:
            self._join(new)

    def _join(self, mapping: CellMapping) -> None:
        breaker = self._etcd(self._store_settings(mapping.store))
        cell = CellAccess(mapping, Store(breaker, mapping.store.prefix, self._remembers), breaker)
        self._cells[mapping.name] = cell
        if mapping.bus and self._with_bus:
            cell.connecting = asyncio.create_task(self._reach(cell, mapping.bus), name=f"reach {mapping.name}")
        for join in self.on_join:
            join(cell)

    async def _reach(self, cell: CellAccess, address: BusAddress) -> None:
        settings = evolve(self._like_bus, url=address.url, **self._secret(address.secret))
        while cell.bus is None:
            try:
                cell.bus = await self._connect(settings, f"{self._name} in {cell.mapping.name}")
            except Exception as error:  # whatever it is, the other cells go on
                log.warning("cell's bus not reached", cell=cell.mapping.name, reason=repr(error))
                await asyncio.sleep(1)

    async def _disconnect(self, cell: CellAccess) -> None:
        if cell.connecting:
            cell.connecting.cancel()
        if cell.bus:
            await cell.bus.drain()
        await self._close_unused(cell.breaker)

    async def _close_unused(self, breaker: Breaker) -> None:
        """The connection of a cell that has left, unless another one is on the same cluster."""
        if any(cell.breaker is breaker for cell in self._cells.values()):
            return
        for settings in [s for s, known in self._etcds.items() if known is breaker]:
            del self._etcds[settings]
            await breaker.close()

    def _etcd(self, settings: StoreSettings) -> Breaker:
        """Cells on one cluster share its connection."""
        shared = evolve(settings, prefix="")
        if shared not in self._etcds:
            self._etcds[shared] = Breaker(self._open_etcd(shared), f"{settings.prefix}probe".encode())
        return self._etcds[shared]

    def _store_settings(self, address: StoreAddress) -> StoreSettings:
        secret = self._secret(address.secret)
        return evolve(self._like_store, endpoints=address.endpoints, prefix=address.prefix, **secret)

    def _secret(self, sealed: str | None) -> dict[str, Any]:
        return orjson.loads(self._key.decrypt(sealed)) if sealed else {}
