"""Each process, etcd and nats-server too, is killed with -9, and paused for seconds, in the middle of 50 boots and 50
deletes: everything ends ACTIVE, gone, or ERROR with a fault; what was answered is there, and nothing is left over.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence

import httpx
import pytest
from attrs import define, field

from tests.chaos.harness import POLL_SECONDS, ChaosSite, Visit, deadline, until

EVERYBODY = ("api", "scheduler", "super-conductor", "conductor", "agent", "nats", "etcd")
COUNT = 50
AT_ONCE = 10
STRIKE_AFTER = 20
"""answers, of boots and deletes together"""
PAUSE_SECONDS = 20.0
SETTLE_SECONDS = 90.0

pytestmark = pytest.mark.storm


@define
class Answers:
    boots: dict[str, str] = field(factory=dict)
    """name -> server, as answered or, after an answer that was lost, as found"""
    deletes: set[str] = field(factory=set)

    def __len__(self) -> int:
        return len(self.boots) + len(self.deletes)


@pytest.mark.parametrize("role", EVERYBODY)
async def test_killed_in_the_middle(site: ChaosSite, role: str) -> None:
    async def strike() -> None:
        site.kill(role)
        site.start(role)

    await storm(site, strike)


@pytest.mark.parametrize("role", EVERYBODY)
async def test_paused_in_the_middle(site: ChaosSite, role: str) -> None:
    async def strike() -> None:
        site.signal(role, signal.SIGSTOP)
        await asyncio.sleep(PAUSE_SECONDS)  # the pause is the fault
        site.signal(role, signal.SIGCONT)

    await storm(site, strike)


async def storm(site: ChaosSite, strike: Callable[[], Awaitable[None]]) -> None:
    async with site.visit() as visit:
        await visit.emptied()  # of what a storm before this one may have left
        before = Answers()
        await boot_all(visit, before, [f"old-{n}" for n in range(COUNT)])
        old = set(before.boots.values())
        assert set((await visit.at_rest()).servers) == old

        answers = Answers()
        async with asyncio.TaskGroup() as group:
            group.create_task(boot_all(visit, answers, [f"new-{n}" for n in range(COUNT)]))
            group.create_task(delete_all(visit, answers, sorted(old)))
            await until(lambda: len(answers) >= STRIKE_AFTER, "the storm has begun", 30.0)
            await strike()

        view = await visit.at_rest(SETTLE_SECONDS)
        assert set(view.servers) == set(answers.boots.values()), "what was answered, and nothing else"
        for _, server in view.servers.values():
            assert server.vm_state == "active" or server.fault is not None
        await visit.emptied()


async def boot_all(visit: Visit, answers: Answers, names: Sequence[str]) -> None:
    async def one(name: str) -> None:
        while True:
            try:
                draft = visit.client.draft(name, visit.seed.flavor, visit.seed.image)
                answer = await visit.client.send("POST", "/servers", draft)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 202:
                answers.boots[name] = answer.json()["server"]["id"]
                return
            assert answer is None or answer.status_code == 503, answer.text
            found = await visit.find(name)  # it may have been accepted all the same
            if found:
                answers.boots[name] = found
                return
            await asyncio.sleep(POLL_SECONDS)

    await some_at_once(names, one)


async def delete_all(visit: Visit, answers: Answers, servers: Sequence[str]) -> None:
    async def one(server: str) -> None:
        await visit.delete_surely(server, SETTLE_SECONDS)
        answers.deletes.add(server)

    await some_at_once(servers, one)


async def some_at_once(items: Sequence[str], one: Callable[[str], Awaitable[None]]) -> None:
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await one(item)

    async with deadline("all is answered", SETTLE_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
