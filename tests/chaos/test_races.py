"""What a dead or a sleeping owner meets when it is back: a delete that came meanwhile, another owner's work."""

import signal

import pytest

from tests.chaos.harness import TWIN, ChaosSite, until
from tests.chaos.test_boot_kills import around, named

pytestmark = pytest.mark.storm

BOOT = [
    *around("super-conductor", "select", "place", "hand over"),
    *around("scheduler", "claim"),
    *around("conductor", "command", "boot finish"),
    *around("agent", "spawn", "report"),
]
FAILED_BOOT = [
    *around("conductor", "boot step", "give back"),
    *around("agent", "destroy"),
    *around("super-conductor", "take back", "clear cell", "cleared"),
]
OWNED_BOOT = [
    ("super-conductor", "before select"),
    ("super-conductor", "before place"),
    ("super-conductor", "before hand over"),
    ("conductor", "before command"),
    ("conductor", "before boot finish"),
]
OWNED_FAILED_BOOT = [
    ("conductor", "before boot step"),
    ("conductor", "before give back"),
    ("super-conductor", "before take back"),
    ("super-conductor", "before clear cell"),
    ("super-conductor", "before cleared"),
]
OWNED_DELETE = [
    ("conductor", "before command"),
    ("conductor", "before delete finish"),
    ("super-conductor", "before forget server"),
    ("super-conductor", "before outbox done"),
]


@pytest.mark.parametrize(("role", "point"), named(BOOT))
async def test_a_delete_that_came_while_the_boots_process_was_dead_ends(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit:
        site.arm(role, point)
        server = await visit.boot("one")
        assert server
        await site.died(role, point)
        await visit.delete_surely(server)
        site.start(role)
        await visit.none_left()


@pytest.mark.parametrize(("role", "point"), named(FAILED_BOOT))
async def test_a_delete_that_came_while_a_failed_boots_process_was_dead_ends(
    site: ChaosSite, role: str, point: str
) -> None:
    async with site.visit() as visit:
        site.arm("agent", "before spawn", "fail")
        site.arm(role, point)
        server = await visit.boot("one")
        assert server
        await site.died(role, point)
        await visit.delete_surely(server)
        site.start(role)
        await visit.none_left()


@pytest.mark.parametrize(("role", "point"), named(OWNED_BOOT))
async def test_an_owner_that_slept_over_its_takeover_changes_nothing(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit, site.twin(role):
        site.arm(role, point, "stop")
        site.arm(role + TWIN, point, "stop")
        server = await visit.boot("one")
        assert server
        asleep = await site.asleep(role, point)
        await visit.at_rest()
        assert await visit.status(server) == "ACTIVE"
        site.signal(asleep, signal.SIGCONT)
        await visit.emptied()


@pytest.mark.parametrize(("role", "point"), named(OWNED_FAILED_BOOT))
async def test_an_owner_that_slept_over_the_next_attempt_changes_nothing(
    site: ChaosSite, role: str, point: str
) -> None:
    async with site.visit() as visit, site.twin(role):
        site.arm("agent", "before spawn", "fail")
        site.arm(role, point, "stop")
        site.arm(role + TWIN, point, "stop")
        server = await visit.boot("one")
        assert server
        asleep = await site.asleep(role, point)
        await visit.at_rest()
        assert await visit.status(server) == "ACTIVE"
        site.signal(asleep, signal.SIGCONT)
        await visit.emptied()


@pytest.mark.parametrize(("role", "point"), named(OWNED_DELETE))
async def test_an_owner_that_slept_over_a_delete_changes_nothing(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit, site.twin(role):
        server = await visit.boot("one")
        assert server
        await visit.at_rest()
        site.arm(role, point, "stop")
        site.arm(role + TWIN, point, "stop")
        await visit.delete_surely(server)
        asleep = await site.asleep(role, point)
        await visit.none_left()
        again = await visit.boot("two")
        site.signal(asleep, signal.SIGCONT)
        await until(lambda: not site.is_stopped(asleep), "it is awake", 5.0)
        view = await visit.at_rest()
        assert list(view.servers) == [again]
        await visit.emptied()
