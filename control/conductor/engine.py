"""Finds the operations of owned shards and runs each, one at a time a server, until it is gone.

A hint starts one at once; a rescan finds what no hint told of; a shard that was taken over is scanned whole.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bus.service import Endpoint, Service
from control.conductor.failures import Failures
from kv.keys import Family, Key
from kv.shards import Shards
from kv.store import Store
from schemas.errors import CompareFailed, KilonovaError, UnknownOutcome
from schemas.messages import Wake
from schemas.operation import Operation
from schemas.shards import shard_of

log = structlog.get_logger()

Look = Callable[[int, Wake], Awaitable[bool]]
"""(shard, hint): reads the server's operation and brings it one step on; False when there is nothing more to do."""

Stir = Callable[[str, int | None], None]
"""(server, mod-revision of its operation, if known): it is being looked at and may have changed meanwhile."""

GiveUp = Callable[[int, str, str], Awaitable[bool]]
"""(shard, server, failure): its operation fails in one way again and again. Ends it when its deadline has passed; True:
it is ended."""


async def _never(shard: int, server: str, failure: str) -> bool:
    return False


class Engine:
    def __init__(
        self,
        store: Store,
        shards: Shards,
        operations: Family[Operation],
        service: Service,
        wake_subject: Callable[[int | str], str],
        look: Look,
        rescan_seconds: float,
        stir: Stir = lambda _, __: None,
        give_up: GiveUp = _never,
    ) -> None:
        self._store = store
        self._shards = shards
        self._operations = operations
        self._service = service
        self._wake_subject = wake_subject
        self._look = look
        self._rescan_seconds = rescan_seconds
        self._stir = stir
        self._give_up = give_up
        self._endpoints: dict[int, Endpoint[Wake]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, Wake] = {}
        self._known: dict[str, tuple[int, Wake]] = {}
        """mod-revision and hint of operations of owned shards by path, so that a rescan reads keys only"""
        self._draining = False

    async def gained(self, shard: int) -> None:
        """The shard is ours: serve its hints, look at all of its operations. No queue group: an owner that was paused
        over its takeover is still subscribed, and would be given every other message of his successor's."""
        self._endpoints[shard] = await self._service.serve(
            f"wake-{shard}", self._wake_subject(shard), Wake, self._woken, queue=""
        )
        await self._scan(shard)

    async def lost(self, shard: int) -> None:
        stem = self._operations.under(shard, "").start
        self._known = {path: known for path, known in self._known.items() if not path.startswith(stem)}
        endpoint = self._endpoints.pop(shard, None)
        if endpoint:
            await self._service.withdraw(endpoint)
        for server, task in list(self._running.items()):
            if shard_of(server) == shard:
                task.cancel()

    def wake(self, hint: Wake) -> None:
        """Look at this server's operation now, or again when it is being looked at."""
        server = hint.server
        shard = shard_of(server)
        if shard not in self._shards.fences or self._draining:
            return
        if server in self._running:
            self._again[server] = hint
            self._stir(server, None)
            return
        task = asyncio.create_task(self._work(shard, hint), name=f"operation of {server}")
        self._running[server] = task
        task.add_done_callback(lambda _: self._ended(server))

    async def run(self) -> None:
        """Rescans until cancelled."""
        while True:
            await asyncio.sleep(self._rescan_seconds)
            try:
                await self._rescan(list(self._shards.fences))
            except KilonovaError as error:
                log.warning("rescan failed", reason=error.message)

    async def drain(self) -> None:
        """Starts nothing more. What runs is left at its last committed step: another owner goes on from there."""
        self._draining = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _woken(self, message: Wake, _: str) -> None:
        self.wake(message)

    async def _scan(self, shard: int) -> None:
        async for page in self._store.pages(self._operations.under(shard, "")):
            for stored in page:
                self._known[stored.key.path] = stored.mod_revision, _hint(stored.value)
                self.wake(_hint(stored.value))

    async def _rescan(self, shards: list[int]) -> None:
        """Only keys are read, and of the records those that are new or changed and not being looked at."""
        spans = [self._operations.under(shard, "") for shard in shards]
        unknown: list[Key[Operation]] = []
        found = await self._store.revisions_of(spans)
        for shard, span, revisions in zip(shards, spans, found, strict=True):
            for path, revision in revisions.items():
                uuid = path.rsplit("/", 1)[1]
                known, hint = self._known.get(path, (0, None))
                server = hint.server if hint else uuid
                if server in self._running:
                    self._stir(server, revision)
                elif hint is not None and known == revision:
                    self.wake(hint)
                elif self._store.aside.revision(path) != revision:
                    unknown.append(self._operations(shard, uuid))
            self._store.aside.keep(span.start, revisions)
        there = {path for revisions in found for path in revisions}
        self._known = {path: known for path, known in self._known.items() if path in there}
        for stored in await self._store.readable_all(unknown):
            if stored is not None:
                self._known[stored.key.path] = stored.mod_revision, _hint(stored.value)
                self.wake(_hint(stored.value))

    def _ended(self, server: str) -> None:
        del self._running[server]
        again = self._again.pop(server, None)
        if again is not None:
            self.wake(again)

    async def _work(self, shard: int, hint: Wake) -> None:
        server = hint.server
        structlog.contextvars.bind_contextvars(instance=server)
        failures = Failures()
        while shard in self._shards.fences:
            self._again.pop(server, None)
            try:
                if failures.for_good and await self._give_up(shard, server, failures.last):
                    return
                if not await self._look(shard, hint):
                    return
                failures.clear()
            except UnknownOutcome:
                try:
                    await self._shards.refence(shard)
                except KilonovaError as error:
                    log.info("shard not refenced", shard=shard, reason=error.message)
                    await asyncio.sleep(failures.note(error))
            except Exception as error:
                pause = failures.note(error)
                if failures.same == 1 and not isinstance(error, KilonovaError):
                    log.exception("operation failed unexpectedly; it is tried again")
                elif not isinstance(error, CompareFailed) or failures.for_good:
                    log.warning("operation waits", reason=str(error)[:500], kind=type(error).__name__, seconds=pause)
                await asyncio.sleep(pause)


def _hint(operation: Operation) -> Wake:
    return Wake(operation.server, operation.created_us, operation.project)
