"""Reading a span of any size by bounded requests, each of a narrow range of keys.

A range with a limit costs etcd all keys in the range (1000 of 1M keys: 225 ms; of 62,000: 36 ms; a range of 62: 4 ms),
so a large span is read by ranges that hold about one page. How wide these are follows from the keys that were seen:
keys count as numbers, and the next range is as wide as the last page was. Only the first request covers the whole
span: a small span needs no second one.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeVar

import grpc
from aetcd import rpc
from attrs import define

from kv.backend import Backend
from schemas.errors import StoreUnavailable

T = TypeVar("T")

PAGE: Final = 1000
"""Records of one answer"""
KEYS_PAGE: Final = 5000
"""Keys of one answer without their values"""
SLICE: Final = 25
"""Records that are decoded between two turns of the event loop: about one millisecond"""
GROWTH: Final = 16
"""from a range that holds few keys to the next"""
SHRINK: Final = 8
"""of the page, when its answer was larger than gRPC accepts"""
DIGITS: Final = 72
"""Bytes of a key that count in its number"""


class _Line:
    """Keys as numbers in their order: the bytes after what all of them share are digits, which are counted among the
    bytes that were seen. So keys that follow each other, as `9f` and `a0`, lie side by side."""

    def __init__(self, start: bytes, end: bytes, seen: Sequence[bytes]) -> None:
        common = next((n for n, (a, b) in enumerate(zip(start, end, strict=False)) if a != b), len(start))
        self._stem = start[:common]
        symbols = {0, 255, *start[common:], *end[common:]}.union(*(key[common : common + DIGITS] for key in seen))
        self._symbols = sorted(symbols)
        self._base = len(self._symbols)
        self._ranks = [bisect_left(self._symbols, byte) for byte in range(256)]

    def number(self, key: bytes) -> int:
        """Of a byte that was not seen the digit is the next higher one's."""
        found = 0
        for byte in key[len(self._stem) : len(self._stem) + DIGITS].ljust(DIGITS, b"\0"):
            found = found * self._base + self._ranks[byte]
        return found

    def key(self, number: int) -> bytes:
        """Greater than every key whose number is lower."""
        digits = bytearray()
        for _ in range(DIGITS):
            number, rank = divmod(number, self._base)
            digits.append(self._symbols[rank])
        return self._stem + bytes(reversed(digits)).rstrip(b"\0")


@define
class _Stride:
    """How far the next range goes: about a page, by what the ranges before held."""

    line: _Line
    size: int
    origin: int
    """the number of the first key"""
    keys: int
    """that were seen since"""
    width: int

    @classmethod
    def after(cls, start: bytes, end: bytes, kvs: Sequence[rpc.KeyValue], size: int) -> "_Stride":
        line = _Line(start, end, [kv.key for kv in kvs])
        origin = line.number(kvs[0].key)
        return cls(line, size, origin, len(kvs), (line.number(kvs[-1].key) - origin) * size // len(kvs))

    def learn(self, cursor: bytes, target: bytes, answer: rpc.RangeResponse, *, filtered: bool) -> None:
        """What [cursor, target) held. Of a filtered answer, `count` is that of all keys, which etcd has read."""
        at = self.line.number(cursor)
        if answer.more and not filtered:
            self.keys += len(answer.kvs)
            self.width = (self.line.number(answer.kvs[-1].key) - at) * self.size // len(answer.kvs)
            return
        width = self.line.number(target) - at
        if answer.count:
            self.keys += 0 if answer.more else answer.count
            self.width = min(width * GROWTH, width * self.size // answer.count)
        else:  # a gap, after which the keys may lie as close as they do on the whole
            self.width = max(width * GROWTH, (at - self.origin) * self.size // self.keys)

    def target(self, cursor: bytes, end: bytes) -> bytes:
        reached = self.line.number(cursor) + max(1, self.width)
        return end if reached >= self.line.number(end) else min(end, self.line.key(reached))


async def answers(
    etcd: Backend,
    start: bytes,
    end: bytes,
    *,
    revision: int | None = None,
    after: int = 0,
    keys_only: bool = False,
    size: int = 0,
) -> AsyncIterator[rpc.RangeResponse]:
    """The answers that together hold [start, end) in the order of keys, each with at most `size` keys.

    `revision`: as of which revision all are read; 0: that of the first answer; None: each answer is of its own moment,
    so that the reading may take longer than etcd keeps its history. `after`: only what was written after this revision;
    etcd reads the whole range for it, so the span is counted first. There is at least one answer.

    Raises: StoreUnavailable; HistoryCompacted when `revision` is compacted.
    """
    size = size or (KEYS_PAGE if keys_only else PAGE)
    cursor, target = start, end
    stride: _Stride | None = None
    if after:
        whole = rpc.RangeRequest(key=start, range_end=end, revision=revision or 0, count_only=True)
        if (await etcd.range(whole)).count > KEYS_PAGE:
            whole.count_only, whole.keys_only, whole.limit = False, True, size
            seen = await etcd.range(whole)
            stride = _Stride.after(start, end, seen.kvs, size)
            target = stride.target(seen.kvs[-1].key, end)
    while True:
        request = rpc.RangeRequest(
            key=cursor, range_end=target, revision=revision or 0, keys_only=keys_only, limit=size
        )
        if after:
            request.min_mod_revision = after + 1
        try:
            answer = await etcd.range(request)
        except StoreUnavailable as error:
            if size == 1 or not _is_too_large(error):
                raise
            size = max(1, size // SHRINK)
            continue
        if revision == 0:
            revision = answer.header.revision
        yield answer
        if not answer.more and target == end:
            return
        if stride is None:
            stride = _Stride.after(start, end, answer.kvs, size)
        else:
            stride.size = size
            stride.learn(cursor, target, answer, filtered=bool(after))
        cursor = answer.kvs[-1].key + b"\0" if answer.more else target
        target = stride.target(cursor, end)


async def slices(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """The items in parts that are short work, with a turn of the event loop between them."""
    for at in range(0, len(items), SLICE):
        if at:
            await asyncio.sleep(0)
        yield items[at : at + SLICE]


def _is_too_large(error: StoreUnavailable) -> bool:
    """The answer outgrew `grpc.max_receive_message_length`."""
    cause: Any = error.__cause__
    return (
        isinstance(cause, grpc.aio.AioRpcError)
        and cause.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        and "larger than max" in (cause.details() or "")
    )
