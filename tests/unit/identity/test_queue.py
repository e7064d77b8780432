"""Sources take turns, and so do the accounts of a source."""

import asyncio
from collections.abc import Callable

import pytest

from control.identity.attempts import PAIR, SOURCE, Attempts
from control.identity.queue import FairQueue
from control.identity.source import networks, source_of
from schemas.errors import TooManyRequests, Unavailable


class Rig:
    def __init__(self, waiting: int = 100, per_source: int = 10, seconds: float = 60) -> None:
        self.queue = FairQueue(1, waiting, per_source, seconds)
        self.done: list[str] = []

    def send(self, source: str, account: str) -> asyncio.Task[None]:
        async def work() -> None:
            async with self.queue.turn(source, account):
                await asyncio.sleep(0)
                self.done.append(f"{source}/{account}")

        return asyncio.create_task(work())


async def settle(what: Callable[[], bool]) -> None:
    for _ in range(1000):
        if what():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def test_who_sends_much_waits_for_himself() -> None:
    rig = Rig()
    async with rig.queue.turn("x", "x"):
        tasks = [rig.send("flood", "a") for _ in range(4)] + [rig.send("flood", "b"), rig.send("other", "c")]
        await settle(lambda: rig.queue.length == 6)
    await asyncio.gather(*tasks)
    assert rig.done == ["flood/a", "other/c", "flood/b", "flood/a", "flood/a", "flood/a"]
    assert rig.queue.length == 0


async def test_a_full_source_makes_room_for_its_other_accounts() -> None:
    rig = Rig(per_source=5)
    async with rig.queue.turn("x", "x"):
        flood = [rig.send("flood", "a") for _ in range(5)]
        await settle(lambda: rig.queue.length == 5)
        late = rig.send("flood", "a")
        with pytest.raises(TooManyRequests):
            await late
        other = rig.send("flood", "b")
        with pytest.raises(TooManyRequests):
            await flood[-1]
    await asyncio.gather(*flood[:-1], other)
    assert rig.done[:2] == ["flood/a", "flood/b"]


async def test_a_full_queue_makes_room_for_other_sources() -> None:
    rig = Rig(waiting=3, per_source=3)
    async with rig.queue.turn("x", "x"):
        flood = [rig.send("flood", "a") for _ in range(3)]
        await settle(lambda: rig.queue.length == 3)
        other = rig.send("other", "a")
        with pytest.raises(Unavailable):
            await flood[-1]
    await asyncio.gather(*flood[:-1], other)


async def test_whoever_leaves_loses_no_turn() -> None:
    rig = Rig()
    async with rig.queue.turn("x", "x"):
        gone, stays = rig.send("s", "a"), rig.send("s", "b")
        await settle(lambda: rig.queue.length == 2)
        gone.cancel()
    gone.cancel()
    await asyncio.wait_for(stays, 5)
    await asyncio.wait_for(rig.send("s", "c"), 5)


async def test_waiting_has_an_end() -> None:
    rig = Rig(seconds=0.01)
    async with rig.queue.turn("x", "x"):
        with pytest.raises(Unavailable):
            await rig.send("s", "a")
    await asyncio.wait_for(rig.send("s", "b"), 5)


def test_pauses_grow_and_end() -> None:
    attempts, now = Attempts(), 1000.0
    for _ in range(PAIR.free):
        attempts.require_allowed("s", "a", now)
        attempts.failed("s", "a", now)
    with pytest.raises(TooManyRequests) as refused:
        attempts.require_allowed("s", "a", now)
    assert refused.value.retry_after == 1
    attempts.require_allowed("s", "b", now)
    attempts.require_allowed("t", "a", now)
    attempts.failed("s", "a", now + 2)
    with pytest.raises(TooManyRequests):
        attempts.require_allowed("s", "a", now + 3.5)
    attempts.require_allowed("s", "a", now + 4.5)


def test_whoever_logged_in_from_here_is_not_held_up_by_others() -> None:
    attempts, now = Attempts(), 1000.0
    attempts.succeeded("s", "known")
    for n in range(SOURCE.free + 1):
        attempts.failed("s", f"guess {n}", now)
        attempts.failed(f"elsewhere {n}", "known", now)
    with pytest.raises(TooManyRequests):
        attempts.require_allowed("s", "new", now)
    attempts.require_allowed("s", "known", now)


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "rubbish", "10.0.0.1"),
        ("2001:db8::1", "", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("", "", ""),
    ],
)
def test_only_trusted_proxies_say_where_a_request_comes_from(peer: str, forwarded: str, source: str) -> None:
    assert source_of(peer, forwarded, networks(["10.0.0.0/24"])) == source
