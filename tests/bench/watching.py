"""When a server became ACTIVE, or was gone: from a watch of its cell, or by asking the API as clients do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from attrs import define, field, frozen

from kv.cache import Cache, Change
from kv.client import Etcd
from kv.keys import Cell, Span
from kv.store import Store
from schemas.codec import record
from schemas.settings import Settings
from tests.site_client import SiteClient

WAIT_SECONDS = 120.0


@record(1)
@frozen
class Instance:
    """What is looked at of the record of that name: decoding all of it would be a good part of the load."""

    uuid: str
    vm_state: str
    task_state: str | None = None
    fault: dict[str, Any] | None = None


class Watching(Protocol):
    resolution: str

    async def active(self, server: str) -> float:
        """When it was seen ACTIVE, on the clock of time.perf_counter. Raises ServerError."""
        ...

    async def gone(self, server: str) -> float: ...

    def forget(self, server: str) -> None:
        """Nobody asks about it any more: a long run keeps nothing of it."""
        ...


class ServerError(Exception):
    """The server ended in ERROR."""


@define
class _Moments:
    """Futures by server for what may be seen before somebody asks for it."""

    known: dict[str, asyncio.Future[float]] = field(factory=dict)

    def of(self, server: str) -> asyncio.Future[float]:
        return self.known.setdefault(server, asyncio.get_running_loop().create_future())

    def set(self, server: str, when: float) -> None:
        if not self.of(server).done():
            self.of(server).set_result(when)

    def fail(self, server: str, why: str) -> None:
        if not self.of(server).done():
            self.of(server).set_exception(ServerError(why))

    def forget(self, server: str) -> None:
        self.known.pop(server, None)

    async def wait(self, server: str) -> float:
        return await asyncio.wait_for(self.of(server), WAIT_SECONDS)


class StoreWatching:
    """Follows the instances of one project in the cell's store. A GET that begins after the commit shows ACTIVE, so
    this is what clients could see; it costs the API nothing."""

    resolution = "below 1 ms: a watch on the cell's instances, which any GET after that commit shows as ACTIVE"

    def __init__(self, store: Store, project: str) -> None:
        span = Cell.INSTANCES.under(project, "")
        self.cache = Cache(store, Span(span.start, span.end, Instance), self._changed)
        self._active = _Moments()
        self._gone = _Moments()

    def _changed(self, change: Change[Instance]) -> None:
        now = time.perf_counter()
        if change.new is None:
            self._gone.set(change.key.path[-36:], now)
            return
        server = change.new.value
        if server.vm_state == "error":
            self._active.fail(server.uuid, str(server.fault))
        elif server.vm_state == "active" and server.task_state is None:
            self._active.set(server.uuid, now)

    async def active(self, server: str) -> float:
        return await self._active.wait(server)

    async def gone(self, server: str) -> float:
        return await self._gone.wait(server)

    def forget(self, server: str) -> None:
        self._active.forget(server)
        self._gone.forget(server)


class ApiWatching:
    """One poller of list-detail with changes-since for everybody, as a load driver without our records would do. It
    costs the API what it costs, and that is part of the measured load."""

    def __init__(self, client: SiteClient, seconds: float) -> None:
        self.resolution = f"{seconds * 1000:g} ms: list-detail with changes-since, one poller, its load included"
        self._client = client
        self._seconds = seconds
        self._active = _Moments()
        self._gone = _Moments()

    async def run(self) -> None:
        since = time.time()
        while True:
            await asyncio.sleep(self._seconds)
            began = time.time()
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since - 2))
            for server in await self._pages({"changes-since": moment}):
                self._see(server)
            since = began

    async def _pages(self, params: dict[str, str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            marker = {"marker": rows[-1]["id"]} if rows else {}
            page = (await self._client.ok("GET", "/servers/detail", params={**params, **marker}))["servers"]
            rows += page
            if len(page) < 1000:
                return rows

    def _see(self, server: dict[str, Any]) -> None:
        now, ident = time.perf_counter(), server["id"]
        if server["status"] == "ERROR":
            self._active.fail(ident, str(server.get("fault")))
        elif server["status"] == "DELETED":
            self._gone.set(ident, now)
        elif server["status"] == "ACTIVE" and server["OS-EXT-STS:task_state"] is None:
            self._active.set(ident, now)

    async def active(self, server: str) -> float:
        return await self._active.wait(server)

    async def gone(self, server: str) -> float:
        return await self._gone.wait(server)

    def forget(self, server: str) -> None:
        self._active.forget(server)
        self._gone.forget(server)


@asynccontextmanager
async def watching(settings: Settings, client: SiteClient, poll: float) -> AsyncIterator[Watching]:
    """Polls the API every `poll` seconds; 0 watches the store."""
    if poll:
        by_api = ApiWatching(client, poll)
        async with _running(by_api.run()):
            yield by_api
        return
    etcd = Etcd(settings.cell.store)
    by_store = StoreWatching(Store(etcd, settings.cell.prefix), client.project)
    try:
        async with _running(by_store.cache.run()):
            await asyncio.wait_for(by_store.cache.synced.wait(), 30)
            yield by_store
    finally:
        await etcd.close()


@asynccontextmanager
async def _running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
