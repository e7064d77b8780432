"""Each process is killed with -9 at each step of a server's boot and delete, before and after the step's commit, and
restarted at once: the boot ends ACTIVE, the delete ends, once and on one host, and nothing is left over.

A row is a role and what it was about to do, or had just done, when it died. Every test run has those of a plain boot
and delete that had just done it, and whose successors find more; the others belong to the storms.
"""

from collections.abc import Sequence

import pytest

from tests.chaos.harness import ChaosSite, Visit, until

Row = tuple[str, str]


STORM = pytest.mark.storm


def around(role: str, *steps: str) -> list[Row]:
    return [(role, f"{when} {step}") for step in steps for when in ("before", "after")]


def named(rows: Sequence[Row]) -> list[object]:
    return [
        pytest.param(*row, id="-".join(row).replace(" ", "-"), marks=[] if row[1].startswith("after") else STORM)
        for row in rows
    ]


BOOT = [
    *around("api", "accept server"),
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
DELETE = [
    *around("api", "accept delete"),
    *around("conductor", "command", "delete finish"),
    *around("agent", "destroy", "report"),
    *around("super-conductor", "forget server", "outbox done"),
]


@pytest.mark.parametrize(("role", "point"), named(BOOT))
async def test_a_boot_ends_active(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit:
        site.arm(role, point)
        server = await visit.boot("one")
        await site.replaced(role, point)
        await is_active_once(visit, "one", server)
        await visit.emptied()


@pytest.mark.parametrize(("role", "point"), named(around("super-conductor", "raise fence")))
async def test_a_boot_ends_active_whose_top_shard_had_not_written_into_the_cell(
    site: ChaosSite, role: str, point: str
) -> None:
    """A fence is raised once a shard and owner: boots until one needs it."""
    async with site.visit() as visit:
        site.arm(role, point)
        for number in range(10):
            server = await visit.boot(f"fenced-{number}")
            assert server
            while not site.has_fired(role, point):
                if await visit.status(server) == "ACTIVE":
                    break
            else:
                break
        await site.replaced(role, point)
        await is_active_once(visit, f"fenced-{number}", server)
        await visit.emptied()


@pytest.mark.parametrize("point", ["before take over", "after take over"])
@pytest.mark.storm
async def test_a_boot_ends_active_whose_second_owner_dies_too(site: ChaosSite, point: str) -> None:
    async with site.visit() as visit:
        site.arm("conductor", "before boot finish")
        site.arm("conductor", point)
        server = await visit.boot("one")
        await site.replaced("conductor", "before boot finish")
        await site.replaced("conductor", point)
        await is_active_once(visit, "one", server)
        await visit.emptied()


@pytest.mark.parametrize(("role", "point"), named(FAILED_BOOT))
@pytest.mark.storm
async def test_a_boot_that_failed_on_its_first_host_ends_active_on_another(
    site: ChaosSite, role: str, point: str
) -> None:
    async with site.visit() as visit:
        site.arm("agent", "before spawn", "fail")
        site.arm(role, point)
        server = await visit.boot("one")
        await site.replaced(role, point)
        await is_active_once(visit, "one", server)
        await visit.emptied()


@pytest.mark.parametrize(("role", "point"), named(around("super-conductor", "refused", "bury")))
@pytest.mark.storm
async def test_a_boot_that_fits_no_host_ends_in_error_with_a_fault(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit:
        site.arm(role, point)
        server = await visit.boot("one", huge=True)
        await site.replaced(role, point)
        view = await visit.at_rest()
        assert list(view.servers) == [server]
        shown = (await visit.patiently("GET", f"/servers/{server}"))["server"]
        assert shown["status"] == "ERROR"
        assert shown["fault"]["message"].startswith("No valid host was found.")
        await visit.emptied()


@pytest.mark.parametrize(
    ("role", "point"), named([*around("api", "cancel build"), *around("super-conductor", "cancel")])
)
@pytest.mark.storm
async def test_a_boot_that_is_deleted_before_it_has_a_host_goes_away(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit:
        site.kill("scheduler")
        server = await visit.boot("one")
        assert server
        site.arm(role, point)
        answered = await visit.delete(server)
        if role != "api":
            site.start("scheduler")
        await site.replaced(role, point)
        if not answered:
            await visit.delete_surely(server)
        if role == "api":
            site.start("scheduler")
        await visit.none_left()


@pytest.mark.storm
async def test_a_delete_that_overtakes_a_burial_leaves_nothing_in_cell0(site: ChaosSite) -> None:
    """The super conductor died between writing the server into cell0 and handing it over; meanwhile it was deleted."""
    async with site.visit() as visit:
        site.arm("super-conductor", "after bury")
        server = await visit.boot("one", huge=True)
        assert server
        await until(lambda: site.has_fired("super-conductor", "after bury"), "the server is in cell0", 15.0)
        assert await visit.delete(server)
        await site.replaced("super-conductor", "after bury")
        await visit.none_left()


@pytest.mark.parametrize(("role", "point"), named(DELETE))
async def test_a_delete_ends(site: ChaosSite, role: str, point: str) -> None:
    async with site.visit() as visit:
        server = await visit.boot("one")
        assert server
        await visit.at_rest()
        site.arm(role, point)
        answered = await visit.delete(server)
        await site.replaced(role, point)
        if not answered:
            await visit.delete_surely(server)
        await visit.none_left()


@pytest.mark.parametrize("point", ["before delete from cell0", "after delete from cell0"])
@pytest.mark.storm
async def test_a_delete_of_a_server_that_never_had_a_host_ends(site: ChaosSite, point: str) -> None:
    async with site.visit() as visit:
        server = await visit.boot("one", huge=True)
        assert server
        await visit.at_rest()
        site.arm("api", point)
        assert not await visit.delete(server)
        await site.replaced("api", point)
        await visit.delete_surely(server)
        await visit.none_left()


async def is_active_once(visit: Visit, name: str, server: str | None) -> None:
    """At rest the server is ACTIVE, with one guest on one host; who got no 202 finds that server or none."""
    view = await visit.at_rest()
    if server is None:
        server = await visit.find(name)
        if server is None:
            assert not view.servers
            return
    assert await visit.status(server) == "ACTIVE", view.servers[server]
    assert [g.server for guests in view.guests.values() for g in guests].count(server) == 1
