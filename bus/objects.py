"""Large objects in JetStream, in the object store's own format: chunks on one subject each, then a message about them.

Names are unique for ever and written once, so an object's chunks bear its name, and whoever knows the name can remove
it, also when its writer died half-way. Memory is bounded by a few chunks, whatever the object's size.
"""

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import nats.errors
import orjson
from attrs import frozen
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from bus.client import Bus
from schemas.errors import BusUnavailable, KilonovaError, NotFound, StorageFull

CHUNK: Final = 256 << 10
"""bytes; well under NATS's default limit of a message, 1 MiB"""
UNCONFIRMED: Final = 16
"""chunks that may be on their way to the disk at once"""
BATCH: Final = 16
"""chunks that are asked for at once"""
ANSWER_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 3.0
ATTEMPTS: Final = 5
"""times in a row that reading is taken up again where it broke off"""
PAUSE_SECONDS: Final = 1.0
FULL: Final = (10023, 10047, 10077)
"""JetStream's error codes: insufficient resources, insufficient storage, maximum bytes exceeded"""


class ObjectDamaged(KilonovaError):
    """The store holds other bytes than were put there."""


@frozen
class ObjectInfo:
    name: str
    size: int
    chunks: int
    digest: str
    """hex of SHA-256"""


class Objects:
    """One bucket, of `max_bytes` at most (0: no limit), on `replicas` servers. It is made with the first object, and
    changed then if it is another."""

    def __init__(self, bus: Bus, bucket: str, replicas: int = 1, max_bytes: int = 0) -> None:
        self._bus = bus
        self.bucket = bucket
        self._replicas = replicas
        self._max_bytes = max_bytes or -1
        self._stream = f"OBJ_{bucket}"
        self._js: JetStreamContext = bus.client.jetstream(timeout=ANSWER_SECONDS)
        self._made = False

    def require_reachable(self) -> None:
        """Raises BusUnavailable before anybody sends a large body in vain."""
        if not self._bus.connected:
            raise BusUnavailable("the object store cannot be reached: NATS is not connected")

    async def put(self, name: str, source: BinaryIO) -> ObjectInfo:
        """From where `source` stands to its end. A name is used once: after a failure `delete` it and take another."""
        with self._explained():
            await self._make()
            digest, size, chunks = await self._put_chunks(self._chunks(name), source)
            info = ObjectInfo(name, size, chunks, digest.hex())
            await self._publish(self._about(name), self._meta(info, digest), {"Nats-Rollup": "sub"})
        return info

    async def info(self, name: str) -> ObjectInfo | None:
        """None when there is no such object, or not all of it."""
        with self._explained():
            try:
                message = await self._js.get_last_msg(self._stream, self._about(name))
            except NotFoundError:
                return None
        meta = orjson.loads(message.data)
        digest = base64.urlsafe_b64decode(meta["digest"].removeprefix("SHA-256="))
        return ObjectInfo(name, meta["size"], meta["chunks"], digest.hex())

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The object's bytes in [start, end), chunk by chunk. Raises NotFound at once, ObjectDamaged when chunks are
        missing; whether the bytes are the right ones is for the reader to check."""
        info = await self.info(name)
        if info is None:
            raise NotFound(f"the object store has no {name}")
        at = 0
        async with aclosing(self._all_of(info)) as chunks:
            async for chunk in chunks:
                part = chunk[max(0, start - at) : None if end is None else max(0, end - at)]
                at += len(chunk)
                if part:
                    yield part
                if end is not None and at >= end:
                    return

    async def _all_of(self, info: ObjectInfo) -> AsyncGenerator[bytes, None]:
        """Its chunks, however often reading breaks off in between."""
        left, after, failures = info.chunks, 0, 0
        while left:
            try:
                async with aclosing(self._chunks_after(info.name, after, left)) as messages:
                    async for message in messages:
                        left, after, failures = left - 1, message.metadata.sequence.stream, 0
                        yield message.data
            except BusUnavailable:
                if not after:  # nobody has had a byte yet: let them hear why
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            failures += 1
            if left and failures >= ATTEMPTS:
                raise BusUnavailable(f"the object store stopped sending {info.name}; is NATS overloaded?")

    async def delete(self, name: str) -> None:
        """Again is fine, and so is an object that was never finished."""
        with self._explained():
            for subject in (self._about(name), self._chunks(name)):
                try:
                    await self._js.purge_stream(self._stream, subject=subject)
                except NotFoundError:
                    return

    async def _make(self) -> None:
        if self._made:
            return
        wanted = StreamConfig(
            name=self._stream,
            subjects=[f"$O.{self.bucket}.C.>", f"$O.{self.bucket}.M.>"],
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            max_bytes=self._max_bytes,
            discard=DiscardPolicy.NEW,
            allow_rollup_hdrs=True,
            allow_direct=True,
        )
        try:
            found = (await self._js.stream_info(self._stream)).config
            if (found.num_replicas, found.max_bytes) != (self._replicas, self._max_bytes):
                await self._js.update_stream(wanted)
        except NotFoundError:
            await self._js.add_stream(wanted)
        self._made = True

    async def _put_chunks(self, subject: str, source: BinaryIO) -> tuple[bytes, int, int]:
        """Digest, bytes and number of the chunks; all are confirmed."""
        digest, size, chunks = hashlib.sha256(), 0, 0
        pending: deque[asyncio.Task[None]] = deque()
        try:
            while data := await asyncio.to_thread(_read, source, digest):
                if len(pending) >= UNCONFIRMED:
                    await pending.popleft()
                pending.append(asyncio.create_task(self._publish(subject, data)))  # tasks begin in their order
                size, chunks = size + len(data), chunks + 1
            while pending:
                await pending.popleft()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return digest.digest(), size, chunks

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        """Returns when it is stored. The client's own way to publish hides why JetStream refuses."""
        headers = {"Nats-Expected-Stream": self._stream, **(headers or {})}
        answer = await self._bus.client.request(subject, data, timeout=ANSWER_SECONDS, headers=headers)
        refusal = orjson.loads(answer.data).get("error")
        if refusal:
            raise _refused(refusal.get("err_code"), refusal.get("description"))

    async def _chunks_after(self, name: str, after: int, left: int) -> AsyncGenerator[Any, None]:
        """The messages that follow the stream's sequence number `after`, in order and without a gap; ends where one
        is, or when nothing comes."""
        start = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": after + 1} if after else {}
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=60, mem_storage=True, **start)
        with self._explained():
            subscription = await self._js.pull_subscribe(self._chunks(name), stream=self._stream, config=config)
            consumer = await subscription.consumer_info()
        try:
            if consumer.num_pending < left:
                raise ObjectDamaged(f"{left - consumer.num_pending} chunks of {name} are missing in the object store")
            expected = 1
            while left:
                with self._explained():
                    batch = await subscription.fetch(min(BATCH, left), timeout=FETCH_SECONDS)
                for message in batch:
                    if message.metadata.sequence.consumer != expected:
                        return
                    yield message
                    expected, left = expected + 1, left - 1
        finally:
            await self._forget(consumer.name, subscription)

    async def _forget(self, consumer: str, subscription: Any) -> None:
        """Its consumer would end by itself, a minute later."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._js.delete_consumer(self._stream, consumer)
                await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError, OSError):
            return

    def _chunks(self, name: str) -> str:
        return f"$O.{self.bucket}.C.{name}"

    def _about(self, name: str) -> str:
        return f"$O.{self.bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def _meta(self, info: ObjectInfo, digest: bytes) -> bytes:
        return orjson.dumps(
            {
                "name": info.name,
                "options": {"max_chunk_size": CHUNK},
                "bucket": self.bucket,
                "nuid": info.name,
                "size": info.size,
                "chunks": info.chunks,
                "mtime": datetime.now(UTC).isoformat(),
                "digest": f"SHA-256={base64.urlsafe_b64encode(digest).decode()}",
            }
        )

    @contextmanager
    def _explained(self) -> Generator[None, None, None]:
        """Errors of NATS as ours."""
        self.require_reachable()
        try:
            yield
        except APIError as error:
            raise _refused(error.err_code, error.description) from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise BusUnavailable(
                f"the object store does not answer: {error!r}; is JetStream enabled and its disk not full?"
            ) from error


def _read(source: BinaryIO, digest: "hashlib._Hash") -> bytes:
    data = source.read(CHUNK)
    digest.update(data)
    return data


def _refused(code: int | None, why: str | None) -> KilonovaError:
    """JetStream's refusal as ours."""
    if code in FULL:
        return StorageFull(f"Image storage media is full: {why}")
    return BusUnavailable(f"the object store refused: {why}")
