"""Two processes that write placement at once, each with a view and a writer of its own, on a real etcd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import httpx
import pytest
from attrs import evolve
from placement_client import Client, claim, client_of, opened
from unit_placement import THEN

from control.placement.writer import Writer
from control.placement.writes import names
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.group import ServerGroup
from schemas.placement import Allocation


@pytest.fixture
async def both(store: Store) -> AsyncIterator[tuple[Client, Client]]:
    async with AsyncExitStack() as stack:
        rooms = [await stack.enter_async_context(opened(store)) for _ in range(2)]
        one, two = [await stack.enter_async_context(client_of(room)) for room in rooms]
        yield one, two


async def codes(*sending: Awaitable[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in await asyncio.gather(*sending)]


async def test_as_many_claims_succeed_as_fit(both: tuple[Client, Client], store: Store) -> None:
    """No update is lost: what is used and the generation tell of every success, and of nothing else."""
    one, two = both
    uuid = await one.provider("host", VCPU=30)
    sending = [
        api.send("PUT", f"/allocations/{uuid4()}", claim({uuid: {"VCPU": 2}})) for _ in range(20) for api in both
    ]
    found = await codes(*sending)
    assert (found.count(204), found.count(409)) == (15, 25)
    usages = await store.get(Global.USAGES(uuid))
    assert usages
    assert (usages.value.used, usages.value.generation) == ({"VCPU": 30}, 1 + 15)
    assert await store.count(Global.ALLOCATIONS.under()) == 15
    assert (await two.get(f"/resource_providers/{uuid}/usages"))["usages"] == {"VCPU": 30}


async def test_what_one_process_answered_the_other_knows(both: tuple[Client, Client]) -> None:
    for n in range(20):
        one, two = both[n % 2], both[1 - n % 2]
        uuid = await one.provider(f"host {n}")
        await two.offer(uuid, 0, VCPU={"total": 1})
        await one.ok("PUT", f"/allocations/{uuid}", claim({uuid: {"VCPU": 1}}), 204)
        await two.refused(409, "PUT", f"/allocations/{uuid4()}", claim({uuid: {"VCPU": 1}}))
        await two.ok("DELETE", f"/allocations/{uuid}", code=204)
        await one.ok("DELETE", f"/resource_providers/{uuid}", code=204)


async def test_one_generation_is_used_once(both: tuple[Client, Client]) -> None:
    uuid = await both[0].provider("host")
    body = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 1}}}
    path = f"/resource_providers/{uuid}/inventories"
    found = await codes(*(api.send("PUT", path, body) for _ in range(5) for api in both))
    assert sorted(found) == [200] + [409] * 9
    consumer = str(uuid4())
    sending = (
        api.send("PUT", f"/allocations/{consumer}", claim({uuid: {"VCPU": 1}})) for _ in range(5) for api in both
    )
    assert sorted(await codes(*sending)) == [204] + [409] * 9


async def test_names_are_given_once(both: tuple[Client, Client]) -> None:
    found = await codes(*(api.send("POST", "/resource_providers", {"name": "host"}) for _ in range(5) for api in both))
    assert sorted(found) == [200] + [409] * 9


@pytest.mark.parametrize("turn", range(5))
async def test_concurrent_moves_never_close_a_loop(both: tuple[Client, Client], turn: int) -> None:
    one, two = both
    a, b = await one.provider("a"), await one.provider("b")
    below_a, below_b = await one.provider("below a", a), await one.provider("below b", b)
    found = await codes(
        one.send("PUT", f"/resource_providers/{a}", {"name": "a", "parent_provider_uuid": below_b}),
        two.send("PUT", f"/resource_providers/{b}", {"name": "b", "parent_provider_uuid": below_a}),
    )
    assert sorted(found) == [200, 400]
    roots = {(await two.get(f"/resource_providers/{uuid}"))["root_provider_uuid"] for uuid in (a, b, below_a, below_b)}
    assert len(roots) == 1


@pytest.mark.parametrize("turn", range(5))
async def test_no_child_is_born_to_a_deleted_parent(both: tuple[Client, Client], turn: int) -> None:
    one, two = both
    parent = await one.provider("parent")
    body = {"name": "child", "parent_provider_uuid": parent}
    born, deleted = await codes(
        one.send("POST", "/resource_providers", body), two.send("DELETE", f"/resource_providers/{parent}")
    )
    assert (born, deleted) in ((200, 409), (400, 204))


Use = Callable[[Client, str], Awaitable[httpx.Response]]


async def as_trait(api: Client, uuid: str) -> httpx.Response:
    body = {"traits": ["CUSTOM_X"], "resource_provider_generation": 0}
    return await api.send("PUT", f"/resource_providers/{uuid}/traits", body)


async def as_class(api: Client, uuid: str) -> httpx.Response:
    body = {"inventories": {"CUSTOM_X": {"total": 1}}, "resource_provider_generation": 0}
    return await api.send("PUT", f"/resource_providers/{uuid}/inventories", body)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize(("path", "use"), [("traits", as_trait), ("resource_classes", as_class)])
async def test_what_is_deleted_is_used_by_nobody(both: tuple[Client, Client], path: str, use: Use, turn: int) -> None:
    one, two = both
    uuid = await one.provider("host")
    await one.send("PUT", f"/{path}/CUSTOM_X")
    for api in both:  # the views have seen it
        await api.get(f"/{path}")
    used, deleted = await codes(use(one, uuid), two.send("DELETE", f"/{path}/CUSTOM_X"))
    assert (used, deleted) in ((200, 409), (400, 204))
    there = (await two.send("GET", f"/{path}/CUSTOM_X")).status_code
    assert (there == 404) == (deleted == 204)


async def test_a_deletion_that_died_halfway_stops_nobody(both: tuple[Client, Client], store: Store) -> None:
    """The process that marked a trait was killed before it deleted it."""
    one, two = both
    uuid = await one.provider("host")
    await one.send("PUT", "/traits/CUSTOM_X")
    await Writer(store).write(lambda reading: (names.mark(reading, names.TRAITS, "CUSTOM_X"), None))
    assert (await as_trait(two, uuid)).status_code == 200
    erasures = await store.get(Global.ERASURES("custom"))
    assert erasures
    assert erasures.value.names == frozenset()
    await one.refused(409, "DELETE", "/traits/CUSTOM_X")


async def test_a_server_that_is_in_a_group_keeps_its_policy(both: tuple[Client, Client], store: Store) -> None:
    """The REST API is a door like any other: what an operator moves by hand may not break anti-affinity."""
    one, _ = both
    hosts = {name: await one.provider(name, VCPU=8) for name in ("h1", "h2")}
    servers = {name: str(uuid4()) for name in hosts}
    members = {servers[name]: (name,) for name in hosts}
    txn = Txn("group").put(Global.GROUPS("g"), ServerGroup("g", "g", "p", "u", "anti-affinity", THEN, members=members))
    for name, uuid in hosts.items():
        stored = await store.get(Global.PROVIDERS(uuid))
        assert stored
        txn.replace(stored, evolve(stored.value, host=name))
        held = Allocation(servers[name], "p", "u", {uuid: {"VCPU": 1}}, THEN, group="g")
        txn.create(Global.ALLOCATIONS(held.consumer), held)
    await store.commit(txn)
    moved = claim({hosts["h1"]: {"VCPU": 1}}, 1)
    assert "anti-affinity" in await one.refused(409, "PUT", f"/allocations/{servers['h2']}", moved)
    await one.ok("DELETE", f"/allocations/{servers['h1']}", code=204)
    await one.ok("PUT", f"/allocations/{servers['h2']}", moved, 204)
    group = await store.get(Global.GROUPS("g"))
    assert group
    assert group.value.members == {servers["h1"]: (), servers["h2"]: ("h1",)}
    # What has no allocation left is still a member of its group, whoever allocates for it.
    again = claim({hosts["h1"]: {"VCPU": 1}})
    assert "anti-affinity" in await one.refused(409, "PUT", f"/allocations/{servers['h1']}", again)
    await one.refused(409, "POST", "/allocations", {servers["h1"]: again})
    offer = {"resource_provider_generation": (await one.get(f"/resource_providers/{hosts['h1']}"))["generation"]}
    shape = {hosts["h1"]: {**offer, "inventories": {"VCPU": {"total": 8}}}}
    await one.refused(409, "POST", "/reshaper", {"inventories": shape, "allocations": {servers["h1"]: again}})
    await one.ok("PUT", f"/allocations/{servers['h1']}", claim({hosts["h2"]: {"VCPU": 1}}), 204)
    group = await store.get(Global.GROUPS("g"))
    assert group
    assert group.value.members == {servers["h1"]: ("h2",), servers["h2"]: ("h1",)}
