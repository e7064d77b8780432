"""What `kv.client.Etcd` does about members, tokens and clusters, beyond what every backend does."""

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from aetcd import rpc
from substrate import EtcdServer, running

from kv.client import Etcd
from kv.identity import Identity
from kv.keys import Family
from kv.store import Store
from kv.twin.refusals import refused
from kv.txn import Txn
from schemas.errors import StoreUnavailable, UnknownOutcome
from schemas.settings import StoreSettings

NOTES = Family("notes/{name}", str)
ASK = rpc.RangeRequest(key=b"a")
STALE = refused((grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token"))


class Member:
    """What the client calls at one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.authenticated = self.streams = 0
        self.valid: set[str] = set()
        self.fault: Exception | None = None
        self.auth = SimpleNamespace(Authenticate=self._authenticate)
        self.kv = SimpleNamespace(Range=self._range, Txn=self._range)
        self.watch = SimpleNamespace(Watch=self._stream)

    async def _authenticate(self, _: Any, timeout: float) -> Any:
        if self.fault:
            raise self.fault
        self.authenticated += 1
        await asyncio.sleep(0.02)
        self.valid.add(f"t{self.authenticated}")
        return SimpleNamespace(token=f"t{self.authenticated}")

    async def _range(self, _: Any, timeout: float, metadata: Any) -> rpc.RangeResponse:
        await asyncio.sleep(0)
        if dict(metadata).get("token") not in self.valid:
            raise STALE
        return rpc.RangeResponse()

    def _stream(self, metadata: Any) -> Any:
        self.streams += 1
        return SimpleNamespace(cancel=lambda: True)


def client(*members: Member, user: str = "kilonova") -> Etcd:
    etcd = Etcd(StoreSettings(user=user, password="x", timeout=0.3))
    etcd._members = members  # type: ignore[assignment]
    return etcd


async def test_many_calls_without_a_token_ask_for_one_together() -> None:
    """Each asked for itself, and each stream that was opened took the token from all: 200 calls were 200 checks of a
    password, of 0.1 s of CPU each, just when the store had a new leader."""
    member = Member("a")
    etcd = client(member)
    await asyncio.gather(*(etcd.range(ASK) for _ in range(200)))
    assert member.authenticated == 1
    await etcd.watch_stream()
    assert member.authenticated == 1, "the token is new"
    member.valid.clear()  # the store was started again
    await asyncio.gather(*(etcd.range(ASK) for _ in range(200)))
    assert member.authenticated == 2


async def test_a_stream_gets_a_new_token_and_takes_it_from_nobody() -> None:
    member = Member("a")
    etcd = client(member)
    await etcd.range(ASK)
    etcd._token_since -= 60
    opening = asyncio.create_task(etcd.watch_stream())
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(etcd.range(ASK) for _ in range(50)))
    assert asyncio.get_running_loop().time() - began < 0.02, "calls went on with the token that they had"
    await opening
    assert member.authenticated == 2


async def test_a_cancelled_caller_does_not_take_the_token_from_the_others() -> None:
    member = Member("a")
    etcd = client(member)
    first, second = asyncio.create_task(etcd.range(ASK)), asyncio.create_task(etcd.range(ASK))
    await asyncio.sleep(0.005)
    first.cancel()
    await second
    assert member.authenticated == 1


async def test_a_write_for_which_no_token_was_had_is_not_unknown() -> None:
    member = Member("a")
    member.fault = refused((grpc.StatusCode.UNAVAILABLE, "no route"))
    etcd = client(member)
    with pytest.raises(StoreUnavailable) as caught:
        await etcd.txn(rpc.TxnRequest(), writes=True)
    assert not isinstance(caught.value, UnknownOutcome)


async def test_a_stream_that_is_given_up_sends_the_next_one_elsewhere() -> None:
    silent, good = Member("a"), Member("b")
    etcd = client(silent, good, user="")
    (await etcd.watch_stream()).give_up()
    await etcd.watch_stream()
    assert (silent.streams, good.streams) == (1, 1)


async def test_a_call_ends_in_its_time_however_many_members_are_tried() -> None:
    """Each member that could not be reached had a whole time-out of its own."""
    given: list[float] = []

    class Slow(Member):
        async def _range(self, _: Any, timeout: float, metadata: Any) -> rpc.RangeResponse:
            given.append(timeout)
            await asyncio.sleep(0.1)
            raise refused((grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses"))

    etcd = client(*(Slow(str(n)) for n in range(10)), user="")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable):
        await etcd.range(ASK)
    assert asyncio.get_running_loop().time() - began < 0.6
    assert given == sorted(given, reverse=True)


# A cluster that was replaced


def header(revision: int, cluster: int = 1) -> Any:
    return SimpleNamespace(header=rpc.ResponseHeader(revision=revision, cluster_id=cluster))


async def test_a_revision_that_goes_back_or_another_cluster_is_told_once() -> None:
    told: list[str] = []
    identity = Identity("etcd", told.append)
    identity.check(header(5), 0)
    identity.check(header(9), 5)
    identity.check(header(7), 5)  # its answer was overtaken
    assert told == []
    identity.check(header(8), 9)
    identity.check(header(8), 9)
    assert len(told) == 1
    assert "went back from 9 to 8" in told[0]
    told.clear()
    identity = Identity("etcd", told.append)
    identity.check(header(5), 0)
    identity.check(header(6, cluster=2), 5)
    assert "its cluster id was 1 and is 2" in told[0]


async def test_an_etcd_that_only_restarts_is_the_same(fragile_etcd: EtcdServer) -> None:
    told: list[str] = []
    etcd = Etcd(StoreSettings(endpoints=(fragile_etcd.endpoint,), timeout=2.0), told.append)
    store = Store(etcd, "same/")
    await store.commit(Txn("write").put(NOTES("a"), "1"))
    fragile_etcd.kill()
    fragile_etcd.start()
    while True:
        try:
            assert await store.get(NOTES("a"))
            break
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    await asyncio.gather(*(store.commit(Txn("write").put(NOTES(f"{n}"), "1")) for n in range(50)))
    await asyncio.gather(*(store.get(NOTES(f"{n}")) for n in range(50)))
    assert told == []
    await etcd.close()


async def test_an_etcd_that_was_restored_is_noticed_by_its_first_answer(tmp_path: Any) -> None:
    """After a restored backup watches waited in silence for revisions that had come before, and compares held by
    chance."""
    told: list[str] = []
    first = EtcdServer(tmp_path / "before")
    with running(first):
        etcd = Etcd(StoreSettings(endpoints=(first.endpoint,), timeout=2.0), told.append)
        store = Store(etcd, "restored/")
        for n in range(5):
            await store.commit(Txn("write").put(NOTES(f"{n}"), "1"))
    first._command[first._command.index("--data-dir") + 1] = str(tmp_path / "after")
    with running(first):
        while not told:
            try:
                await store.get(NOTES("a"))
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
        assert "went back" in told[0]
        await etcd.close()
