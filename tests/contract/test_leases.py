"""The contract of `kv.leases.KeepAlive`: many leases on one stream, each renewal answered or refused in time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aetcd import rpc
from substrate import EtcdServer, eventually

from kv.client import Etcd
from kv.leases import KeepAlive
from kv.store import Store
from schemas.errors import StoreUnavailable
from schemas.settings import StoreSettings


@pytest.fixture
async def keepalive(store: Store) -> AsyncIterator[KeepAlive]:
    made = KeepAlive(store.etcd)
    yield made
    await made.close()


@pytest.fixture
async def fragile(fragile_etcd: EtcdServer) -> AsyncIterator[Etcd]:
    etcd = Etcd(StoreSettings(endpoints=(fragile_etcd.endpoint,), timeout=0.5))
    yield etcd
    await etcd.close()


async def test_a_renewed_lease_has_its_whole_time_again(store: Store, keepalive: KeepAlive) -> None:
    assert await keepalive.renew(await store.etcd.grant(60)) == 60


async def test_a_lease_that_is_gone_has_no_time(store: Store, keepalive: KeepAlive) -> None:
    lease = await store.etcd.grant(60)
    await store.etcd.revoke(lease)
    assert await keepalive.renew(lease) == 0
    assert await keepalive.renew(12345) == 0


async def test_many_at_once_get_each_their_own_answer(store: Store, keepalive: KeepAlive) -> None:
    leases = await asyncio.gather(*(store.etcd.grant(50 + n) for n in range(20)))
    asked = [lease for lease in leases for _ in range(3)]
    answers = await asyncio.gather(*(keepalive.renew(lease) for lease in asked))
    assert answers == [50 + n for n in range(20) for _ in range(3)]


async def test_closed_it_opens_again(store: Store, keepalive: KeepAlive) -> None:
    lease = await store.etcd.grant(60)
    await keepalive.renew(lease)
    await keepalive.close()
    assert await keepalive.renew(lease) == 60


async def test_all_who_wait_hear_that_etcd_is_gone_and_go_on_when_it_is_back(
    fragile: Etcd, fragile_etcd: EtcdServer
) -> None:
    keepalive = KeepAlive(fragile)
    leases = [await fragile.grant(60) for _ in range(5)]
    await keepalive.renew(leases[0])
    fragile_etcd.pause()

    async def later(lease: int, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return await keepalive.renew(lease)

    waiting = (later(lease, 0.12 * n) for n, lease in enumerate(leases * 3))
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(a) for a in answers} == {StoreUnavailable}, answers
    fragile_etcd.resume()

    async def renewed() -> bool:
        try:
            return await keepalive.renew(leases[0]) == 60
        except StoreUnavailable:
            return False

    await eventually(renewed)
    fragile_etcd.kill()
    with pytest.raises(StoreUnavailable):
        await keepalive.renew(leases[0])
    fragile_etcd.start()
    await eventually(renewed)
    await keepalive.close()


class Recorder:
    """A keep-alive stream whose writes wait until they are let go, and that answers as the test says."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.free = asyncio.Event()
        self.given_up = self.cancelled = False
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, request: Any) -> None:
        await self.free.wait()
        self.asked.append(request.ID)

    async def read(self) -> Any:
        return await self._answers.get()

    def answer(self, lease: int, ttl: int) -> None:
        self._answers.put_nowait(rpc.LeaseKeepAliveResponse(ID=lease, TTL=ttl))

    def cancel(self) -> bool:
        self.cancelled = True
        return True

    def give_up(self) -> None:
        self.given_up = True


class Recorders:
    target, timeout = "a script", 5.0

    def __init__(self) -> None:
        self.opened: list[Recorder] = []

    async def keepalive_stream(self) -> Recorder:
        self.opened.append(Recorder())
        return self.opened[-1]


async def test_a_renewal_that_was_cancelled_before_it_was_written_takes_no_answer() -> None:
    """What it had queued took the answer of the next renewal, which then ran into its time-out."""
    etcd = Recorders()
    keepalive = KeepAlive(etcd)  # type: ignore[arg-type]
    first = asyncio.create_task(keepalive.renew(7))
    await eventually(lambda: etcd.opened)
    second = asyncio.create_task(keepalive.renew(7))
    third = asyncio.create_task(keepalive.renew(7))
    await asyncio.sleep(0.01)
    second.cancel()  # it waits for its turn to write
    await asyncio.gather(second, return_exceptions=True)
    stream = etcd.opened[0]
    stream.free.set()
    await eventually(lambda: stream.asked == [7, 7])
    stream.answer(7, 10)
    stream.answer(7, 11)
    assert await asyncio.wait_for(asyncio.gather(first, third), 5) == [10, 11]
    await keepalive.close()


async def test_a_renewal_that_was_cancelled_while_it_was_written_closes_its_stream() -> None:
    """Whether it was sent is not known: the next answer might be its own, and older than the next question."""
    etcd = Recorders()
    keepalive = KeepAlive(etcd)  # type: ignore[arg-type]
    first = asyncio.create_task(keepalive.renew(7))
    await eventually(lambda: etcd.opened and keepalive._waiting)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert etcd.opened[0].cancelled
    assert not keepalive._waiting
    second = asyncio.create_task(keepalive.renew(7))
    await eventually(lambda: len(etcd.opened) == 2)
    etcd.opened[1].free.set()
    await eventually(lambda: etcd.opened[1].asked == [7])
    etcd.opened[1].answer(7, 12)
    assert await asyncio.wait_for(second, 5) == 12
    await keepalive.close()


async def test_a_member_that_does_not_renew_is_left() -> None:
    """Every stream was opened on the same silent member, until gRPC noticed after 13 seconds."""
    etcd = Recorders()
    keepalive = KeepAlive(etcd)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await keepalive.renew(7, 0.05)
    assert etcd.opened[0].given_up
