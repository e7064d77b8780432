"""What the contract of `kv.backend.Backend` is tested on: a real etcd, and its twin in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from aetcd import rpc
from attrs import define, field

from kv.backend import Backend, Stream
from kv.client import Etcd
from kv.twin.client import Twin
from kv.twin.cluster import Cluster
from schemas.settings import StoreSettings

SETTLE_SECONDS: Final = 30.0
PROGRESS: Final = rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())
_REVISIONS: Final = {"revision", "create_revision", "mod_revision", "compact_revision"}
_OF_THE_MEMBER: Final = {"cluster_id", "member_id", "raft_term"}

Plain = dict[str, Any]


@define(eq=False)
class Lab:
    """An etcd of which we are the only user, emptied; revisions count from there, leases from the first granted."""

    backend: Backend
    compact_at: Callable[[int], Any]
    base: int = 0
    """the revision at which it was empty, less one"""
    leases: list[int] = field(factory=list)

    async def reset(self) -> None:
        for _ in range(2):  # the second makes sure that nothing is compacted at the base
            ops = [put(b"\0", b""), delete(b"\0\0", b"\0")]
            await self.backend.txn(rpc.TxnRequest(success=ops), writes=True)
        answer = await self.backend.txn(rpc.TxnRequest(success=[delete(b"\0")]), writes=True)
        self.base = answer.header.revision - 1

    async def range(self, key: bytes, end: bytes = b"", **options: Any) -> Plain:
        return self.plain(await self.backend.range(rpc.RangeRequest(key=key, range_end=end, **options)))

    async def txn(self, *ops: rpc.RequestOp, compare: Any = (), failure: Any = ()) -> Plain:
        request = rpc.TxnRequest(compare=compare, success=ops, failure=failure)
        return self.plain(await self.backend.txn(request, writes=True))

    async def revision(self) -> int:
        answer = await self.backend.range(rpc.RangeRequest(key=b"\0"))
        return int(answer.header.revision) - self.base

    async def grant(self, ttl: int = 600) -> int:
        self.leases.append(await self.backend.grant(ttl))
        return self.leases[-1]

    async def compact(self, revision: int) -> None:
        await self.compact_at(self.base + revision)

    async def watch(self) -> "Watcher":
        return Watcher(self, await self.backend.watch_stream())

    def plain(self, message: Any) -> Plain:
        """Fields that are set, without what differs from one etcd to the next."""
        found: Plain = {}
        for descriptor, value in message.ListFields():
            name = descriptor.name
            if name in _OF_THE_MEMBER:
                continue
            if name in _REVISIONS:
                found[name] = value - self.base
            elif name == "lease":
                found[name] = self.leases.index(value) + 1
            elif descriptor.type != descriptor.TYPE_MESSAGE:
                found[name] = value
            elif hasattr(value, "ListFields"):
                found[name] = self.plain(value)
            else:
                found[name] = [self.plain(item) for item in value]
        return found


@define(eq=False)
class Watcher:
    """A watch stream and all it has said, by watch."""

    lab: Lab
    stream: Stream
    answers: list[Plain] = field(factory=list)
    _pending: asyncio.Future[Any] | None = None

    async def create(self, key: bytes, end: bytes = b"", start: int = 0, **options: Any) -> None:
        request = rpc.WatchCreateRequest(
            key=key, range_end=end, start_revision=start and self.lab.base + start, **options
        )
        await self.stream.write(rpc.WatchRequest(create_request=request))

    async def cancel(self, watch_id: int) -> None:
        await self.stream.write(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)))

    async def next(self, seconds: float = SETTLE_SECONDS) -> Plain | None:
        """The next answer; None when none comes in time."""
        self._pending = self._pending or asyncio.ensure_future(self.stream.read())
        done, _ = await asyncio.wait([self._pending], timeout=seconds)
        if not done:
            return None
        answer, self._pending = self._pending.result(), None
        assert answer is not grpc.aio.EOF
        self.answers.append(self.lab.plain(answer))
        return self.answers[-1]

    async def settle(self) -> None:
        """Everything up to now was said. A watch whose past is compacted is cancelled for good, as a client must."""
        revision = await self.lab.revision()
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                await self.stream.write(PROGRESS)
                while (answer := await self.next(0.02)) is not None:
                    if "compact_revision" in answer:
                        await self.cancel(answer.get("watch_id", 0))
                    if is_progress(answer) and answer["header"]["revision"] >= revision:
                        return

    def events(self, watch_id: int = 0) -> list[Plain]:
        return [e for a in self.answers if a.get("watch_id", 0) == watch_id for e in a.get("events", ())]

    def said(self) -> dict[int, list[Plain]]:
        """By watch: its events and whatever else, without where one batch ends and the next begins."""
        found: dict[int, list[Plain]] = {}
        for answer in (a for a in self.answers if not is_progress(a)):
            lines = found.setdefault(answer.get("watch_id", 0), [])
            lines += answer.get("events", [answer])
        return found

    async def close(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.wait([self._pending])
        self.stream.cancel()


def is_progress(answer: Plain) -> bool:
    return answer.get("watch_id") == -1 and "created" not in answer


@asynccontextmanager
async def real_lab(endpoint: str) -> AsyncIterator[Lab]:
    etcd = Etcd(StoreSettings(endpoints=(endpoint,)))
    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub = rpc.KVStub(channel)

        async def compact(revision: int) -> None:
            await stub.Compact(rpc.CompactionRequest(revision=revision, physical=True), timeout=5)

        lab = Lab(etcd, compact)
        await lab.reset()
        yield lab
        for lease in lab.leases:
            await _revoked(etcd, lease)
    await etcd.close()


@asynccontextmanager
async def twin_lab() -> AsyncIterator[Lab]:
    cluster = Cluster()

    async def compact(revision: int) -> None:
        cluster.compact(revision)

    lab = Lab(Twin(cluster), compact)
    await lab.reset()
    yield lab
    await lab.backend.close()


async def _revoked(backend: Backend, lease: int) -> None:
    try:
        await backend.revoke(lease)
    except Exception as error:
        if "lease not found" not in str(error):
            raise


def put(key: bytes, value: bytes = b"v", **options: Any) -> rpc.RequestOp:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, **options))


def get(key: bytes, end: bytes = b"", **options: Any) -> rpc.RequestOp:
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key, range_end=end, **options))


def delete(key: bytes, end: bytes = b"", **options: Any) -> rpc.RequestOp:
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key, range_end=end, **options))


def nested(*ops: rpc.RequestOp, compare: Any = (), failure: Any = ()) -> rpc.RequestOp:
    return rpc.RequestOp(request_txn=rpc.TxnRequest(compare=compare, success=ops, failure=failure))


def compare(key: bytes, result: str, end: bytes = b"", **target: Any) -> rpc.Compare:
    """`compare(b"k", "GREATER", mod_revision=7)`; revisions as etcd counts them."""
    [name] = target
    kind = {"mod_revision": "MOD", "create_revision": "CREATE"}.get(name, name.upper())
    return rpc.Compare(
        key=key,
        range_end=end,
        result=rpc.Compare.CompareResult.Value(result),
        target=rpc.Compare.CompareTarget.Value(kind),
        **target,
    )
