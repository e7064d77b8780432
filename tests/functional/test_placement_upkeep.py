"""heal-allocations, audit and sync-aggregates on records that differ, with nova-manage's exit codes."""

from typing import Any
from uuid import uuid4

import pytest
from attrs import define, evolve
from typer.testing import CliRunner
from unit_records import instance

from control.conductor.top.upkeep import Upkeep
from control.manage.placement import commands
from control.manage.placement.cli import app
from control.placement.resources import needed_by
from control.placement.upkeep.records import Records
from control.placement.writer import Writer
from control.servers.find import instance_key
from control.top import Top
from kv.keys import Cell, Global
from kv.txn import Txn
from schemas.aggregate import Aggregate
from schemas.codec import to_dict
from schemas.errors import CompareFailed
from schemas.host import HostMapping
from schemas.operation import Deleted, Operation
from schemas.placement import Allocation, Inventory, Provider, Usages
from schemas.server import HostedServer, Instance, InstanceMapping
from schemas.shards import SHARDS, shard_of

NOTHING_ASKED: dict[str, Any] = {
    "max_count": None,
    "verbose": True,
    "dry_run": False,
    "instance": None,
    "cell": None,
    "force": False,
}


@pytest.fixture
def records(top: Top) -> Records:
    return Records(top.store, top.cells, Writer(top.store))


async def add_host(top: Top, name: str, vcpus: int = 8) -> str:
    """Its provider's uuid."""
    uuid = str(uuid4())
    offers = {"VCPU": Inventory(vcpus), "MEMORY_MB": Inventory(16384), "DISK_GB": Inventory(100)}
    await top.store.commit(
        Txn("host")
        .create(Global.HOSTS(name), HostMapping(name, "cell1", uuid))
        .create(Global.PROVIDERS(uuid), Provider(uuid, name, offers, host=name, cell="cell1"))
        .create(Global.USAGES(uuid), Usages())
    )
    return uuid


async def add_server(top: Top, host: str | None, **more: Any) -> Instance:
    """At rest, holding nothing."""
    server = instance(uuid=str(uuid4()), host=host, node=host, **more)
    mapping = InstanceMapping(server.uuid, server.project, server.user, server.created, "cell1")
    await top.store.commit(Txn("server").create(Global.INSTANCES(server.uuid), mapping))
    txn = Txn("server").create(instance_key(server), server)
    if host:
        txn.create(Cell.BY_HOST(host, server.uuid), HostedServer(server.project, server.created_us))
    await top.cells.store("cell1").commit(txn)
    return server


async def claim(top: Top, consumer: str, provider: str) -> None:
    usages = await top.store.get(Global.USAGES(provider))
    assert usages
    needs = needed_by(instance().flavor)
    used = {name: usages.value.used.get(name, 0) + n for name, n in needs.items()}
    allocation = Allocation(consumer, "p1", "u1", {provider: needs}, instance().created)
    await top.store.commit(
        Txn("given claim").create(Global.ALLOCATIONS(consumer), allocation).replace(usages, Usages(used))
    )


async def held(top: Top, consumer: str) -> dict[str, dict[str, int]] | None:
    stored = await top.store.get(Global.ALLOCATIONS(consumer))
    return stored.value.resources if stored else None


async def used(top: Top, provider: str) -> dict[str, int]:
    stored = await top.store.get(Global.USAGES(provider))
    assert stored
    return stored.value.used


async def test_servers_are_given_what_they_lack_and_nothing_else_is_touched(records: Records, top: Top) -> None:
    rp = await add_host(top, "h1")
    lacking, moving, nowhere = [
        await add_server(top, h, **m) for h, m in (("h1", {}), ("h1", {"task_state": "x"}), (None, {}))
    ]
    assert await commands.heal_allocations(records, **{**NOTHING_ASKED, "dry_run": True}) == 0
    assert await held(top, lacking.uuid) is None
    assert await commands.heal_allocations(records, **NOTHING_ASKED) == 0
    assert await held(top, lacking.uuid) == {rp: needed_by(lacking.flavor)}
    assert await held(top, moving.uuid) is await held(top, nowhere.uuid) is None
    assert await used(top, rp) == needed_by(lacking.flavor)
    stored = await top.store.get(Global.ALLOCATIONS(lacking.uuid))
    assert stored
    assert (stored.value.project, stored.value.user, stored.value.type) == ("p1", "u1", "INSTANCE")
    assert await commands.heal_allocations(records, **NOTHING_ASKED) == commands.NOTHING
    assert await commands.audit(records, verbose=True, provider=None, delete=True) == 0


async def test_exit_codes_of_healing(records: Records, top: Top) -> None:
    await add_host(top, "h1", vcpus=1)
    servers = [await add_server(top, "h1") for _ in range(2)]
    one = {**NOTHING_ASKED, "max_count": 1}
    assert await commands.heal_allocations(records, **one) == commands.MAX_COUNT
    assert await commands.heal_allocations(records, **NOTHING_ASKED) == commands.NOT_CREATED
    assert [bool(await held(top, s.uuid)) for s in servers].count(True) == 1
    await add_server(top, "h9")
    lost = {**NOTHING_ASKED, "instance": (await add_server(top, "h9")).uuid}
    assert await commands.heal_allocations(records, **lost) == commands.NO_NODE


async def test_what_a_named_server_holds_is_computed_anew_by_force(records: Records, top: Top) -> None:
    right, wrong = await add_host(top, "h1"), await add_host(top, "h2")
    server = await add_server(top, "h1")
    await claim(top, server.uuid, wrong)
    asked = {**NOTHING_ASKED, "instance": server.uuid}
    assert await commands.heal_allocations(records, **asked) == commands.NOTHING
    assert await commands.heal_allocations(records, **{**asked, "force": True}) == 0
    assert await held(top, server.uuid) == {right: needed_by(server.flavor)}
    assert (await used(top, right), await used(top, wrong)) == (needed_by(server.flavor), {})


async def test_claims_that_nobody_needs_are_found_and_given_back(
    records: Records, top: Top, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = await add_host(top, "h1"), await add_host(top, "h2")
    fine, elsewhere, building = [await add_server(top, "h1") for _ in range(3)]
    gone = str(uuid4())
    for consumer, provider in ((fine.uuid, here), (elsewhere.uuid, there), (building.uuid, there), (gone, there)):
        await claim(top, consumer, provider)
    shard = shard_of(building.uuid)
    operation = Operation(building.uuid, "boot", "spawn", building.created, building.created, "req")
    await top.store.commit(Txn("op").create(Global.OPERATIONS(shard, building.uuid), operation))
    assert await commands.audit(records, verbose=False, provider=here, delete=False) == 0
    assert await commands.audit(records, verbose=False, provider=str(uuid4()), delete=False) == commands.BAD_INPUT
    assert await commands.audit(records, verbose=False, provider=None, delete=False) == commands.ORPHANS_FOUND
    assert await held(top, gone) is not None
    told = capsys.readouterr().out
    assert gone in told
    assert elsewhere.uuid in told
    assert fine.uuid not in told
    assert building.uuid not in told
    assert await commands.audit(records, verbose=True, provider=None, delete=True) == commands.ORPHANS_DELETED
    assert [bool(await held(top, c)) for c in (fine.uuid, building.uuid, elsewhere.uuid, gone)] == [
        True,
        True,
        False,
        False,
    ]
    assert await used(top, there) == needed_by(building.flavor)
    assert await commands.audit(records, verbose=True, provider=None, delete=True) == 0


async def test_what_changed_since_it_was_judged_is_left_alone(
    records: Records, top: Top, monkeypatch: pytest.MonkeyPatch
) -> None:
    rp = await add_host(top, "h1")
    server = await add_server(top, "h1")
    judged = (await records.servers([server.uuid]))[0]
    await claim(top, server.uuid, rp)

    async def earlier(_: Any, uuids: Any, *_silent: Any) -> Any:
        return [judged for _ in uuids]

    monkeypatch.setattr(Records, "servers", earlier)
    assert await commands.heal_allocations(records, **{**NOTHING_ASKED, "instance": server.uuid}) == commands.NOTHING
    assert await used(top, rp) == needed_by(server.flavor)
    claimed = await top.store.get(Global.ALLOCATIONS(server.uuid))
    assert claimed
    judged = evolve(judged, instance=evolve(server, host="h9"), allocation=evolve(claimed, mod_revision=1))
    assert await commands.audit(records, verbose=True, provider=None, delete=True) == 0
    assert await held(top, server.uuid)


@define
class Round:
    """A super conductor's upkeep of all shards; `lost` ones are another's by the time it writes."""

    records: Records
    lost: bool = False

    def upkeep(self) -> Upkeep:
        return Upkeep(self.records, range(SHARDS), self._guard, lambda: ["2030-01-01", "2030-01-02"], 300.0)

    def _guard(self, txn: Txn, shard: int) -> Txn:
        if self.lost:
            raise CompareFailed(f"shard {shard} is not ours")
        return txn


async def test_upkeep_mends_what_is_wrong_twice(records: Records, top: Top) -> None:
    here, there = await add_host(top, "h1"), await add_host(top, "h2")
    lacking, elsewhere = [await add_server(top, "h1") for _ in range(2)]
    await claim(top, elsewhere.uuid, there)
    forgotten, foreign = str(uuid4()), str(uuid4())
    for consumer in (forgotten, foreign):
        await claim(top, consumer, there)
    kept = Deleted(to_dict(elsewhere), elsewhere.created)
    await top.cells.store("cell1").commit(Txn("deleted").create(Cell.DELETED("2030-01-02", forgotten), kept))
    upkeep = Round(records).upkeep()
    assert await upkeep.look() == 0
    assert await upkeep.look() == 3
    assert await held(top, lacking.uuid) == {here: needed_by(lacking.flavor)}
    assert await held(top, elsewhere.uuid) is await held(top, forgotten) is None
    assert await held(top, foreign), "it may be another service's"
    assert await used(top, there) == needed_by(lacking.flavor)
    assert await upkeep.look() == 0
    assert await upkeep.look() == 1, "what was elsewhere holds nothing now"
    assert await held(top, elsewhere.uuid) == {here: needed_by(lacking.flavor)}
    assert [await upkeep.look() for _ in range(2)] == [0, 0]


async def test_upkeep_leaves_alone_what_changed_between_two_rounds_or_is_another_s(records: Records, top: Top) -> None:
    rp = await add_host(top, "h1")
    server = await add_server(top, "h1")
    upkeep = Round(records).upkeep()
    assert await upkeep.look() == 0
    await claim(top, server.uuid, rp)
    assert await upkeep.look() == 0
    assert await used(top, rp) == needed_by(server.flavor)
    other = await add_server(top, "h1")
    lost = Round(records, lost=True).upkeep()
    assert [await lost.look() for _ in range(3)] == [0, 0, 0]
    assert await held(top, other.uuid) is None


async def test_providers_are_put_into_the_mirrors_of_their_hosts_aggregates(records: Records, top: Top) -> None:
    rp = await add_host(top, "h1")
    created = instance().created
    first, second = str(uuid4()), str(uuid4())
    txn = Txn("aggregates").create(Global.AGGREGATES(1), Aggregate(1, first, "a", created, hosts=("h1",)))
    await top.store.commit(txn.create(Global.AGGREGATES(2), Aggregate(2, second, "b", created, hosts=("h1",))))
    assert await commands.sync_aggregates(records, verbose=True) == 0
    provider, usages = await top.store.read(Global.PROVIDERS(rp), Global.USAGES(rp))
    assert provider
    assert usages
    assert provider.value.aggregates == {first, second}
    assert usages.value.generation == 1
    assert await commands.sync_aggregates(records, verbose=True) == 0
    await top.store.commit(Txn("a").put(Global.AGGREGATES(3), Aggregate(3, str(uuid4()), "c", created, hosts=("h9",))))
    assert await commands.sync_aggregates(records, verbose=True) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["heal-allocations", "--max-count", "0"], "positive integer"),
        (["heal_allocations", "--max-count", "0"], "positive integer"),  # as nova-manage spells it
        (["heal-allocations", "--force"], "--instance flag is required"),
        (["heal-allocations", "--instance", "x"], "not a UUID"),
        (["heal-allocations", "--instance", str(uuid4()), "--cell", "cell1"], "mutually exclusive"),
        (["audit", "--resource_provider", "x"], "not a UUID"),
    ],
)
def test_bad_input_ends_with_127(words: list[str], said: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 127
    assert said in result.output
