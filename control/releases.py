"""Which release of the records and messages each process of a site knows, and the oldest of them, which all write for.

Every process of the control plane keeps a service record under a lease: those at the top in the global store, a cell's
conductors in their cell, which also holds one that the super conductors keep, with the oldest release at the top. A
process of an older release than all others is refused, so the oldest release only ever rises, and to look for it now
and then is enough; until a process has looked it writes as the release before its own did.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from bus.client import Bus
from control.cells.registry import CellAccess
from control.top import Top
from kv.keys import Cell, Family, Global, Key
from kv.leases import KeepAlive
from kv.store import Store
from kv.txn import Txn
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import KilonovaError, ReleaseRefused, StoreUnavailable
from schemas.host import Service

log = structlog.get_logger()

CONDUCTOR: Final = "nova-conductor"
TOP: Final = "kilonova-top"
"""the binary, and the host, of the record in a cell that stands for all processes at the top"""
LEASE_SECONDS: Final = 15
LOOK_SECONDS: Final = 10.0


async def oldest(store: Store, services: Family[Service], binary: str = "") -> int | None:
    """Of the live processes, or those of one binary; None when there are none."""
    span = services.under(binary, "") if binary else services.under()
    return least(*(s.value.version for s in await store.range(span)))


def least(*releases: int | None) -> int | None:
    """Of those that are known."""
    return min((r for r in releases if r is not None), default=None)


def check_release(mine: int, others: int | None) -> None:
    """Raises ReleaseRefused for a process that could not read what the others write, or they what it writes."""
    if others is not None and not mine - 1 <= others <= mine:
        raise ReleaseRefused(
            f"this process knows release {mine} of the records, the oldest that runs knows {others}: neither too old "
            "nor more than one release ahead may run beside it. `kilonova status upgrade check` shows them all"
        )


class Attendance:
    """One process's service record, kept alive. `found(oldest)` is called with what is found at each look."""

    def __init__(
        self,
        store: Store,
        key: Key[Service],
        look: Callable[[], Awaitable[int | None]],
        found: Callable[[int], Awaitable[None]],
        release: int = RELEASE,
    ) -> None:
        self._store = store
        self._key = key
        self._look = look
        self._found = found
        self._release = release
        self._keepalive = KeepAlive(store.etcd)

    async def run(self) -> None:
        """Until cancelled; then the record goes at once. Raises ReleaseRefused when this process must not run."""
        while True:
            try:
                check_release(self._release, await self._look())
                lease = await self._store.etcd.grant(LEASE_SECONDS)
                await self._store.commit(Txn("attend").put(self._key, self._service(), lease))
                await self._stay(lease)
            except ReleaseRefused:
                raise
            except KilonovaError as error:
                log.warning("service record lost", reason=error.message)
                await self._keepalive.close()
                await asyncio.sleep(1.0)

    async def _stay(self, lease: int) -> None:
        loop = asyncio.get_running_loop()
        next_look = 0.0
        try:
            while await self._keepalive.renew(lease) > 0:
                if loop.time() >= next_look:
                    await self._found(least(self._release, await self._look()) or 0)
                    next_look = loop.time() + LOOK_SECONDS
                await asyncio.sleep(LEASE_SECONDS / 3)
        except asyncio.CancelledError:
            await asyncio.shield(self._leave(lease))
            raise
        raise StoreUnavailable("the lease of the service record ran out")

    async def _leave(self, lease: int) -> None:
        await self._keepalive.close()
        try:
            await self._store.etcd.revoke(lease)
        except StoreUnavailable as error:
            log.info("service record left to run out", reason=error.message)

    def _service(self) -> Service:
        now, pod = ambient.now(), self._key.path.rsplit("/", 1)[1]
        binary = self._key.path.split("/")[1]
        return Service(socket.gethostname(), binary, ambient.new_uuid(), "", pod, self._release, now, now)


def attend_top(top: Top, binary: str, pod: str, *, tells_cells: bool = False) -> Attendance:
    """Of a process at the top: keeps its stores and buses at the oldest release. `tells_cells`: those of the cells
    too, where they change."""
    _speak(top.store, top.bus, RELEASE - 1)
    for cell in top.cells.all():
        _speak_to(cell, RELEASE - 1)
    top.cells.on_join.append(lambda cell: _speak_to(cell, RELEASE - 1))

    async def found(release: int) -> None:
        _speak(top.store, top.bus, release)
        await asyncio.gather(*(_in_cell(cell, release, tells_cells) for cell in top.cells.all()))

    return Attendance(top.store, Global.SERVICES(binary, pod), lambda: oldest(top.store, Global.SERVICES), found)


def attend_store(store: Store, binary: str, pod: str) -> Attendance:
    """Of a process that has the global store and nothing else."""
    _speak(store, None, RELEASE - 1)

    async def found(release: int) -> None:
        _speak(store, None, release)

    return Attendance(store, Global.SERVICES(binary, pod), lambda: oldest(store, Global.SERVICES), found)


def attend_cell(store: Store, bus: Bus, pod: str) -> Attendance:
    """Of a cell's conductor. The cell's agents are spoken to in the release of each."""
    _speak(store, bus, RELEASE - 1)

    async def look() -> int | None:
        above = await store.get(Cell.SERVICES(TOP, TOP))
        here = await oldest(store, Cell.SERVICES, CONDUCTOR)
        return least(above.value.version if above else RELEASE - 1, here)

    async def found(release: int) -> None:
        _speak(store, bus, release)

    return Attendance(store, Cell.SERVICES(CONDUCTOR, pod), look, found)


async def _in_cell(cell: CellAccess, release: int, tells: bool) -> None:
    """A cell that does not answer keeps what it had; the others go on."""
    try:
        async with asyncio.timeout(2.0):
            here = await oldest(cell.store, Cell.SERVICES, CONDUCTOR)
            _speak_to(cell, least(release, here) or 0)
            if tells:
                await _tell(cell.store, release)
    except (KilonovaError, TimeoutError) as error:
        log.info("cell's release not known", cell=cell.mapping.name, reason=repr(error))


async def _tell(store: Store, release: int) -> None:
    key = Cell.SERVICES(TOP, TOP)
    known = await store.get(key)
    if known is None or known.value.version != release:
        now = ambient.now()
        service = Service(TOP, TOP, ambient.new_uuid(), "", "", release, now, now)
        await store.commit(Txn("tell release").put(key, service))


def _speak_to(cell: CellAccess, release: int) -> None:
    _speak(cell.store, cell.bus, release)


def _speak(store: Store, bus: Bus | None, release: int) -> None:
    store.release = release
    if bus is not None:
        bus.release = release
