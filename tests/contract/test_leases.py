"""The contract of `kv.leases.KeepAlive`: many leases on one stream, each renewal answered or refused in time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
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
