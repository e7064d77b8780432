"""Large objects on a real JetStream: whole or an error, in a format that other tools read."""

import asyncio
import os
from collections.abc import AsyncIterator
from io import BytesIO
from uuid import uuid4

import pytest

from bus.client import Bus
from bus.objects import BATCH, CHUNK, ObjectDamaged, Objects
from schemas.errors import NotFound
from schemas.settings import BusSettings


@pytest.fixture
async def bus(bus_settings: BusSettings) -> AsyncIterator[Bus]:
    bus = await Bus.connect(bus_settings, "test")
    yield bus
    await bus.drain()


@pytest.fixture
def objects(bus: Bus) -> Objects:
    return Objects(bus, f"test-{uuid4().hex}")


async def read(objects: Objects, name: str) -> bytes:
    return b"".join([chunk async for chunk in objects.get(name)])


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, CHUNK * (BATCH + 3)])
async def test_what_was_put_is_had(objects: Objects, size: int) -> None:
    data = os.urandom(size)
    info = await objects.put("x", BytesIO(data))
    assert await objects.info("x") == info
    assert info.size == size
    assert await read(objects, "x") == data


async def test_other_clients_read_it(objects: Objects, bus: Bus) -> None:
    data = os.urandom(CHUNK * 2 + 5)
    await objects.put("x", BytesIO(data))
    store = await bus.client.jetstream().object_store(objects.bucket)
    assert (await store.get("x")).data == data


async def test_deleting_again_is_fine(objects: Objects) -> None:
    await objects.delete("x")
    await objects.put("x", BytesIO(b"bytes"))
    await asyncio.gather(objects.delete("x"), objects.delete("x"))
    assert await objects.info("x") is None
    with pytest.raises(NotFound):
        await read(objects, "x")


async def test_a_half_written_object_is_none_and_can_be_removed(objects: Objects, bus: Bus) -> None:
    await objects.put("other", BytesIO(b"bytes"))
    js = bus.client.jetstream()
    await js.publish(f"$O.{objects.bucket}.C.half", b"chunk")
    assert await objects.info("half") is None
    await objects.delete("half")
    assert (await js.stream_info(f"OBJ_{objects.bucket}")).state.messages == 2
    assert await read(objects, "other") == b"bytes"


async def test_missing_chunks_are_noticed_before_a_byte_is_sent(objects: Objects, bus: Bus) -> None:
    await objects.put("x", BytesIO(os.urandom(CHUNK * 3)))
    js = bus.client.jetstream()
    await js.delete_msg(f"OBJ_{objects.bucket}", 2)
    with pytest.raises(ObjectDamaged, match="1 chunks of x are missing"):
        await anext(objects.get("x"))


async def test_reading_goes_on_after_a_lost_connection(objects: Objects, bus: Bus) -> None:
    """NATS drops what was on its way; the reader asks again from the last chunk that it has."""
    data = os.urandom(CHUNK * BATCH * 4)
    await objects.put("x", BytesIO(data))
    chunks, got = objects.get("x"), b""
    async for chunk in chunks:
        got += chunk
        if len(got) == CHUNK * BATCH * 2:
            bus.client._transport.close()
    assert got == data
