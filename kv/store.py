"""A store: one etcd and a prefix in it, read and written as records."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar, overload

from aetcd import rpc

from kv.backend import Backend
from kv.groups import groups_of
from kv.keys import Key, Span
from kv.memo import Memo
from kv.metrics import TRANSACTIONS, WRITES
from kv.reads import MAX_KEYS
from kv.scan import KEYS_PAGE, PAGE, answers, slices
from kv.txn import Stored, Txn
from kv.unreadable import Aside
from schemas.codec import RELEASE, for_release, loads
from schemas.errors import CompareFailed, UnknownOutcome, UnreadableRecord

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
R = TypeVar("R")


class Store:
    """Shares its Etcd with other stores; closing that is its maker's job."""

    def __init__(self, etcd: Backend, prefix: str, remembers: int = 0) -> None:
        """`remembers`: how many decoded records, for a process that reads the same ones again and again."""
        self.etcd = etcd
        self.prefix = prefix
        self.release = RELEASE
        """of the oldest process that reads what is written here"""
        self.aside = Aside(f"{etcd.target} {prefix}")
        """the records that cannot be read"""
        self._memo = Memo(remembers) if remembers else None
        self._commits, self._reads = groups_of(etcd)

    async def get(self, key: Key[R]) -> Stored[R] | None:
        """Linearizable."""
        (kv,) = await self._reads.read(self.etcd, [self._full(key.path)])
        return self.stored(key.cls, kv) if kv else None

    @overload
    async def read(self, a: Key[A], /) -> tuple[Stored[A] | None]: ...
    @overload
    async def read(self, a: Key[A], b: Key[B], /) -> tuple[Stored[A] | None, Stored[B] | None]: ...
    @overload
    async def read(
        self, a: Key[A], b: Key[B], c: Key[C], /
    ) -> tuple[Stored[A] | None, Stored[B] | None, Stored[C] | None]: ...
    @overload
    async def read(
        self, a: Key[A], b: Key[B], c: Key[C], d: Key[R], /
    ) -> tuple[Stored[A] | None, Stored[B] | None, Stored[C] | None, Stored[R] | None]: ...
    async def read(self, *keys: Key[Any]) -> tuple[Stored[Any] | None, ...]:
        """Several records as of one revision."""
        return tuple(await self.read_all(keys))

    async def read_all(self, keys: Sequence[Key[R]]) -> list[Stored[R] | None]:
        """As `read`, for any number; each 128 keys are of one revision."""
        found: list[Stored[R] | None] = []
        for i in range(0, len(keys), MAX_KEYS):
            part = keys[i : i + MAX_KEYS]
            kvs = await self._reads.read(self.etcd, [self._full(key.path) for key in part])
            found += [self.stored(key.cls, kv) if kv else None for key, kv in zip(part, kvs, strict=True)]
        return found

    async def readable_all(self, keys: Sequence[Key[R]]) -> list[Stored[R] | None]:
        """As `read_all`; a record that cannot be read is set aside and counts as absent."""
        found: list[Stored[R] | None] = []
        for i in range(0, len(keys), MAX_KEYS):
            part = keys[i : i + MAX_KEYS]
            kvs = await self._reads.read(self.etcd, [self._full(key.path) for key in part])
            found += [self.readable(key.cls, kv) if kv else None for key, kv in zip(part, kvs, strict=True)]
        return found

    async def range(self, span: Span[R]) -> list[Stored[R]]:
        """The records of a span in the order of their keys. One that cannot be read is set aside."""
        return (await self.snapshot(span))[0]

    async def snapshot(self, span: Span[R]) -> tuple[list[Stored[R]], int]:
        """As `range`, with the revision at which it is true."""
        found: list[Stored[R]] = []
        revision = 0
        async for answer in self._answers(span, revision=0):
            revision = revision or answer.header.revision
            found += await self._decoded(span.cls, answer.kvs)
        return found, revision

    async def pages(self, span: Span[R], size: int = PAGE) -> AsyncIterator[list[Stored[R]]]:
        """The records of a span of any size in the order of their keys, at most `size` at once, each page of its own
        moment: a record that is written meanwhile is seen before or after, one that stays is seen once."""
        async for answer in self._answers(span, size=size):
            if answer.kvs:
                yield await self._decoded(span.cls, answer.kvs)

    async def path_pages(self, span: Span[R], size: int = KEYS_PAGE) -> AsyncIterator[list[str]]:
        """As `pages`, but only the keys, without the store's prefix."""
        async for answer in self._answers(span, size=size, keys_only=True):
            if answer.kvs:
                yield [self._path(kv.key) for kv in answer.kvs]

    async def ranges(self, spans: Sequence[Span[R]]) -> list[Stored[R]]:
        """The records of several spans; each 128 spans are of one revision."""
        found: list[Stored[R]] = []
        for i in range(0, len(spans), MAX_KEYS):
            part = spans[i : i + MAX_KEYS]
            ops = [rpc.RequestOp(request_range=self._range(span)) for span in part]
            answer = await self.etcd.txn(rpc.TxnRequest(success=ops), writes=False)
            for span, response in zip(part, answer.responses, strict=True):
                found += await self._decoded(span.cls, response.response_range.kvs)
        return found

    async def changed(self, span: Span[R], after: int) -> list[Stored[R]]:
        """The records of a span that were written after a revision; what was deleted is not among them. It costs etcd
        the span, everybody else what changed."""
        found: list[Stored[R]] = []
        async for answer in self._answers(span, revision=0, after=after):
            found += await self._decoded(span.cls, answer.kvs)
        return found

    async def revisions(self, span: Span[R]) -> dict[str, int]:
        """The mod-revision of each record of a span by its path: what is new is found without reading the rest."""
        found: dict[str, int] = {}
        async for answer in self._answers(span, revision=0, keys_only=True):
            found.update((self._path(kv.key), kv.mod_revision) for kv in answer.kvs)
        return found

    async def range_again(self, span: Span[R], known: dict[str, Stored[R]]) -> list[Stored[R]]:
        """As `range`, for what is read often and changes seldom: records that are in `known`, by path, and have not
        changed since are not decoded. Afterwards `known` holds what was found."""
        found: dict[str, Stored[R]] = {}
        async for answer in self._answers(span, revision=0):
            for kv in answer.kvs:
                path = self._path(kv.key)
                before = known.get(path)
                same = before is not None and before.mod_revision == kv.mod_revision
                stored = before if same else self.readable(span.cls, kv)
                if stored is not None:
                    found[path] = stored
        known.clear()
        known.update(found)
        return list(found.values())

    async def window(self, span: Span[R], limit: int) -> tuple[list[Stored[R]], int]:
        """The last `limit` records of a span in descending order, and how many it holds: that is what it costs."""
        request = rpc.RangeRequest(
            key=self._full(span.start),
            range_end=self._full(span.end),
            limit=limit,
            sort_order=rpc.RangeRequest.DESCEND,
            sort_target=rpc.RangeRequest.KEY,
        )
        answer = await self.etcd.range(request)
        return await self._decoded(span.cls, answer.kvs), int(answer.count)

    async def revisions_of(self, spans: Sequence[Span[R]]) -> list[dict[str, int]]:
        """As `revisions`, of several spans; usually in one request for each 128."""
        found: list[dict[str, int]] = []
        for i in range(0, len(spans), MAX_KEYS):
            part = spans[i : i + MAX_KEYS]
            request = rpc.TxnRequest()
            for span in part:
                asked = request.success.add().request_range
                asked.key, asked.range_end = self._full(span.start), self._full(span.end)
                asked.keys_only, asked.limit = True, MAX_KEYS
            answer = await self.etcd.txn(request, writes=False)
            for span, response in zip(part, answer.responses, strict=True):
                listed = response.response_range
                if listed.more:
                    found.append(await self.revisions(span))
                else:
                    found.append({self._path(kv.key): kv.mod_revision for kv in listed.kvs})
        return found

    async def paths(self, span: Span[R]) -> list[str]:
        """Only the keys, without the store's prefix."""
        return list(await self.revisions(span))

    async def count(self, span: Span[R]) -> int:
        request = rpc.RangeRequest(key=self._full(span.start), range_end=self._full(span.end), count_only=True)
        return int((await self.etcd.range(request)).count)

    async def revision(self) -> int:
        """The store's revision at some moment after the call: linearizable."""
        answer = await self.etcd.range(rpc.RangeRequest(key=self._full("revision"), keys_only=True))
        return int(answer.header.revision)

    async def commit(self, txn: Txn) -> int:
        """The revision of the writes. Raises CompareFailed when the world moved on, UnknownOutcome when it may or
        may not have been applied or may still be."""
        request = rpc.TxnRequest()  # filled in place: protobuf copies what it is given
        compares, writes = set(), set()
        for path, revision in txn.revisions.items():
            compare = request.compare.add()
            compare.key = key = self._full(path)
            compare.target, compare.result, compare.mod_revision = rpc.Compare.MOD, rpc.Compare.EQUAL, revision
            compares.add(key)
        for write in txn.writes.values():
            operation, key = request.success.add(), self._full(write.path)
            if write.data is None:
                operation.request_delete_range.key = key
            else:
                put = operation.request_put
                put.key, put.value, put.lease = key, for_release(write.data, self.release), write.lease
            writes.add(key)
        try:
            succeeded, revision = await self._commits.commit(self.etcd, request, compares, writes)
        except UnknownOutcome:
            TRANSACTIONS.labels(txn.purpose, "unknown").inc()
            raise
        if not succeeded:
            TRANSACTIONS.labels(txn.purpose, "lost").inc()
            raise CompareFailed(f"{txn.purpose}: what it was decided on has changed")
        TRANSACTIONS.labels(txn.purpose, "done").inc()
        WRITES.labels(txn.purpose).inc(len(writes))
        txn.revision = revision
        return revision

    def _range(self, span: Span[Any]) -> rpc.RangeRequest:
        return rpc.RangeRequest(key=self._full(span.start), range_end=self._full(span.end))

    async def clear(self) -> None:
        """Deletes everything below the prefix."""
        span = rpc.DeleteRangeRequest(key=self._full(""), range_end=self._full("\U0010ffff"))
        await self.etcd.txn(rpc.TxnRequest(success=[rpc.RequestOp(request_delete_range=span)]), writes=True)

    def _answers(self, span: Span[Any], **options: Any) -> AsyncIterator[rpc.RangeResponse]:
        return answers(self.etcd, self._full(span.start), self._full(span.end), **options)

    def _full(self, path: str) -> bytes:
        return (self.prefix + path).encode()

    def _path(self, key: bytes) -> str:
        return key.decode()[len(self.prefix) :]

    async def _decoded(self, cls: type[R], kvs: Sequence[rpc.KeyValue]) -> list[Stored[R]]:
        found: list[Stored[R]] = []
        async for part in slices(kvs):
            found += [stored for kv in part if (stored := self.readable(cls, kv)) is not None]
        return found

    def readable(self, cls: type[R], kv: rpc.KeyValue) -> Stored[R] | None:
        """As `stored`; a record that cannot be read is set aside with an alarm and counts as absent: its neighbours
        are of use without it."""
        try:
            return self.stored(cls, kv)
        except UnreadableRecord as error:
            self.aside.add(self._path(kv.key), kv.mod_revision, error)
            return None

    def stored(self, cls: type[R], kv: rpc.KeyValue) -> Stored[R]:
        """Raises UnreadableRecord, naming the key."""
        if self._memo and (known := self._memo.get(kv.key, cls, kv.mod_revision)):
            return known
        path = self._path(kv.key)
        try:
            value = loads(cls, kv.value)
        except UnreadableRecord as error:
            raise UnreadableRecord(f"{self.prefix}{path}: {error.message}") from error
        self.aside.remove(path)
        stored = Stored(Key(path, cls), value, kv.mod_revision, kv.create_revision, kv.lease)
        if self._memo:
            self._memo.put(kv.key, stored)
        return stored
