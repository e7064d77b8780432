"""Users, an operator and an outsider at placement: what they ask for, and what their answers promise."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import structlog
from attrs import define, evolve, field

from control.cells import aggregates
from control.cells.hosts import set_host
from control.placement.groups import HARD
from control.placement.reading import Reading
from control.placement.writer import Writer
from control.placement.writes import allocations, inventories
from control.servers import expansion
from control.servers.change import change_server, delete_server, update_server
from control.servers.create import ServerDraft, create_servers
from control.servers.find import find_server
from control.servers.groups import create_group, delete_group
from control.servers.lists import list_servers
from control.servers.reset import reset_state
from control.top import Top
from kv.keys import Global
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import KilonovaError, NotFound
from schemas.flavor import Flavor
from schemas.group import POLICIES, ServerGroup
from schemas.identity import Identity
from schemas.quota import QuotaLimits
from schemas.server import Instance
from tests.sim.monitor import Monitor
from tests.sim.promises import Promises
from tests.sim.site import GLOBAL, Site

log = structlog.get_logger()

USER: Final = Identity("user", "user", "project", "project", frozenset({"admin"}))
OTHER: Final = Identity("other", "other", "project", "project", frozenset({"member"}))
"""of the same project"""
FLAVORS: Final = (
    Flavor("1", "small", 1, 512, 5),
    Flavor("2", "large", 8, 4096, 50),
    Flavor("3", "huge", 64, 1, 1),
    Flavor("4", "own", 2, 512, 5, extra_specs={"hw:cpu_policy": "dedicated", "pci_passthrough:alias": "gpu:1"}),
    Flavor("5", "apart", 2, 512, 5, extra_specs={"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"}),
)
LIMITS: Final = QuotaLimits({"instances": 16, "cores": 200, "ram": 10**6, "server_groups": 4})
WORK: Final = {
    "create": 50,
    "delete": 30,
    "update": 20,
    "stop": 8,
    "start": 8,
    "reboot": 8,
    "pause": 4,
    "unpause": 4,
    "suspend": 4,
    "resume": 4,
    "reset": 3,
    "list": 4,
    "show": 4,
    "create group": 5,
    "delete group": 2,
}
"""what a user asks for, and how often"""
OPERATES: Final = {"host": 4, "aggregate": 2, "quota": 3, "inventory": 2, "cell": 1, "claim": 4}
"""what an operator changes, or an outsider claims at placement, and how often"""
PATIENCE_SECONDS: Final = 75.0
"""in which every call must have ended while its API lives"""
OUTSIDE: Final = "OUTSIDE"
"""the type of the outsider's consumers"""


@define
class Groups:
    """The server groups of the project."""

    there: dict[str, None] = field(factory=dict)


async def calling(site: Site, monitor: Monitor, call: Callable[[Top], Awaitable[None]], what: str) -> None:
    """One call of the API that runs now; a user of one that dies or hangs turns away. Each must end in time."""
    if (top := site.api) is None:
        return
    process = site.running["api"]

    async def alone() -> None:
        REQUEST_ID.set(f"req-{ambient.new_uuid()}")
        try:
            await call(top)
        except KilonovaError as error:
            log.info("refused", call=what, reason=error.message)

    began, paused = site.loop.time(), False
    asking = site.loop.spawn(process, alone())
    while not asking.done():
        await asyncio.wait([asking], timeout=5.0)
        paused = paused or process.paused
        if process.dead or paused:
            return
        if site.loop.time() - began > PATIENCE_SECONDS:
            monitor.report("I7", f"a call has not ended after {PATIENCE_SECONDS:g} s: {what}")
            return
    error = asking.exception()
    if error is not None and not process.dead:
        monitor.report("call", f"{what} ended with {error!r}")


async def user(site: Site, random: Random, promised: Promises, groups: Groups, monitor: Monitor) -> None:
    """Until cancelled: creates, acts, updates, deletes, looks. An error is no promise."""
    while True:
        await asyncio.sleep(random.uniform(0.05, 3.0))
        what = random.choices(list(WORK), list(WORK.values()))[0]
        identity = random.choices([USER, OTHER], [3, 1])[0]
        call = _choose(what, identity, random, promised, groups, monitor)
        asking = asyncio.create_task(calling(site, monitor, call, what))
        # An API that dies or hangs answers nobody: the user turns away, the call goes on.
        await asyncio.wait([asking], timeout=15)


def _choose(
    what: str, identity: Identity, random: Random, promised: Promises, groups: Groups, monitor: Monitor
) -> Callable[[Top], Awaitable[None]]:
    mine = promised.there()
    if what == "create group":
        return lambda top: _create_group(top, identity, random, groups)
    if what == "delete group" and groups.there:
        return lambda top: _delete_group(top, random.choice(list(groups.there)), groups)
    if what == "list":
        return lambda top: _list(top, identity)
    if what in ("create", "delete group") or not mine:
        return lambda top: _create(top, identity, random, promised, groups)
    uuid = random.choice(mine)
    if what == "delete":
        return lambda top: _delete(top, identity, uuid, promised)
    if what == "update":
        return lambda top: _update(top, identity, uuid, random, promised, monitor)
    if what == "reset":
        return lambda top: _reset(top, identity, uuid, random, promised)
    if what == "show":
        return lambda top: _show(top, identity, uuid)
    inputs = {"type": random.choice(["SOFT", "HARD"])} if what == "reboot" else {}
    return lambda top: change_server(top, identity, uuid, what, inputs)


async def _create(top: Top, identity: Identity, random: Random, promised: Promises, groups: Groups) -> None:
    count = random.choice([1, 1, 1, 3])
    flavor = random.choices(FLAVORS, [6, 3, 1, 2, 1])[0]
    group = random.choice(list(groups.there)) if groups.there and random.random() < 0.4 else None
    draft = ServerDraft("s", flavor, None, min_count=1, max_count=count, networks="none", group=group)
    _, servers = await create_servers(top, identity, draft)
    written = expansion.at_once(draft)
    promised.answered += [s.uuid for s in servers[:written]]
    promised.charged += [s.uuid for s in servers[written:]]


async def _delete(top: Top, identity: Identity, uuid: str, promised: Promises) -> None:
    promised.doubtful[uuid] = None
    try:
        await delete_server(top, identity, uuid)
        log.info("delete answered", server=uuid)
    except NotFound:  # an earlier delete was done though its answer was lost
        log.info("delete found nothing", server=uuid)
    promised.deleted[uuid] = None


async def _update(
    top: Top, identity: Identity, uuid: str, random: Random, promised: Promises, monitor: Monitor
) -> None:
    """Its own metadata key, the name, the tags, or the lock."""
    what = random.choice(["metadata", "metadata", "name", "tags", "locked_by"])
    word = ambient.new_uuid()[:8]
    name, value = f"metadata.{word}" if what == "metadata" else what, _value(what, word)
    before: list[Any] = []

    def change(server: Instance) -> Instance:
        if not before:
            before.append(None if what == "metadata" else getattr(server, what))
            promised.asked(uuid, name, before[0], value)
        if what == "metadata":
            return evolve(server, metadata={**server.metadata, word: value})
        return evolve(server, **{what: value})

    await update_server(top, identity, uuid, change)
    promised.updated(uuid, name, value)
    monitor.answered(uuid)


def _value(what: str, word: str) -> Any:
    return {"tags": (word,), "locked_by": "admin"}.get(what, word)


async def _reset(top: Top, identity: Identity, uuid: str, random: Random, promised: Promises) -> None:
    promised.reset[uuid] = None
    await reset_state(top, identity, uuid, random.choice(["active", "error"]))
    log.info("reset answered", server=uuid)


async def _show(top: Top, identity: Identity, uuid: str) -> None:
    await find_server(top, identity, uuid)


async def _list(top: Top, identity: Identity) -> None:
    await list_servers(top, project=identity.project, limit=10)


async def _create_group(top: Top, identity: Identity, random: Random, groups: Groups) -> None:
    policy = random.choice(POLICIES)
    limit = random.choice([None, 2]) if policy == HARD[1] else None
    group = ServerGroup(
        ambient.new_uuid(), "g", identity.project, identity.user, policy, ambient.now(), max_server_per_host=limit
    )
    await create_group(top, group)
    groups.there[group.uuid] = None


async def _delete_group(top: Top, uuid: str, groups: Groups) -> None:
    groups.there.pop(uuid, None)
    await delete_group(top, uuid)


@define
class Operator:
    """Disables and enables hosts and a cell, changes aggregates, quotas and inventories; and, as an outsider, claims
    at placement. `undo` puts back what stands in the way of builds."""

    site: Site
    random: Random
    monitor: Monitor
    does: dict[str, int]
    aggregates: list[int] = field(factory=list)
    claimed: list[str] = field(factory=list)
    """the outsider's consumers"""
    _disabled: dict[str, None] = field(factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        while self.does:
            await asyncio.sleep(self.random.uniform(1.0, 6.0))
            what = self.random.choices(list(self.does), list(self.does.values()))[0]
            work = {
                "host": self._host,
                "aggregate": self._aggregate,
                "quota": self._quota,
                "inventory": self._inventory,
                "cell": self._cell,
                "claim": self._claim,
            }[what]
            await asyncio.wait(
                [asyncio.create_task(calling(self.site, self.monitor, work, f"operator: {what}"))], timeout=15
            )

    async def undo(self) -> None:
        """Everything is enabled and as large as it was; what the outsider holds is given back. After the calm."""
        store = self.site.store(GLOBAL)
        for stored in await store.range(Global.HOSTS.under()):
            if stored.value.disabled:
                await _rewritten(store.commit, Txn("set host"), stored, evolve(stored.value, disabled=False))
        for cell in await store.range(Global.CELLS.under()):
            if cell.value.disabled:
                await _rewritten(store.commit, Txn("enable cell"), cell, evolve(cell.value, disabled=False))
        await store.commit(Txn("set quotas").put(Global.QUOTA_LIMITS(USER.project), LIMITS))
        writer = Writer(store)
        for provider in await store.range(Global.PROVIDERS.under()):
            whole = {name: evolve(i, reserved=0) for name, i in provider.value.inventories.items()}
            if whole != provider.value.inventories:
                await writer.write(
                    lambda reading, uuid=provider.value.uuid, to=whole: inventories.replace(  # type: ignore[misc]
                        reading, uuid, None, to, ambient.now(), reserve_all=True
                    )
                )
        for stored_claim in await store.range(Global.ALLOCATIONS.under()):
            if stored_claim.value.type == OUTSIDE:
                await writer.write(lambda reading, c=stored_claim.value.consumer: (_ended(reading, c), None))  # type: ignore[misc]

    async def _host(self, top: Top) -> None:
        host = self.random.choice(list(self.site.machines))
        if host in self._disabled or len(self._disabled) > 1:
            host = next(iter(self._disabled))
            await set_host(top, host, disabled=False)
            self._disabled.pop(host, None)
        else:
            self._disabled[host] = None
            await set_host(top, host, disabled=True)

    async def _cell(self, top: Top) -> None:
        stored = await top.store.get(Global.CELLS(self.random.choice(self.site.cells)))
        assert stored is not None
        await top.store.commit(
            Txn("set cell").replace(stored, evolve(stored.value, disabled=not stored.value.disabled))
        )

    async def _aggregate(self, top: Top) -> None:
        if not self.aggregates or self.random.random() < 0.2:
            made = await aggregates.create_aggregate(top, ambient.new_uuid()[:8], None)
            self.aggregates.append(made.id)
            return
        ident, host = self.random.choice(self.aggregates), self.random.choice(list(self.site.machines))
        if host in (await aggregates.get_aggregate(top, ident)).hosts:
            await aggregates.remove_host(top, ident, host)
        else:
            await aggregates.add_host(top, ident, host)

    async def _quota(self, top: Top) -> None:
        stored = await top.store.get(Global.QUOTA_LIMITS(USER.project))
        limits = {**LIMITS.limits, "instances": self.random.choice([4, 8, 16])}
        txn = Txn("set quotas")
        if stored is None:
            txn.create(Global.QUOTA_LIMITS(USER.project), QuotaLimits(limits))
        else:
            txn.replace(stored, QuotaLimits(limits))
        await top.store.commit(txn)

    async def _inventory(self, top: Top) -> None:
        """A host gives less, or again all, of its processors."""
        providers = [s.value for s in await top.store.range(Global.PROVIDERS.under())]
        if not providers:
            return
        provider = self.random.choice(providers)
        vcpus = provider.inventories["VCPU"]
        changed = {**provider.inventories, "VCPU": evolve(vcpus, reserved=self.random.choice([0, vcpus.total - 4]))}
        await Writer(top.store).write(
            lambda reading: inventories.replace(reading, provider.uuid, None, changed, ambient.now(), reserve_all=True)
        )

    async def _claim(self, top: Top) -> None:
        """The outsider takes some memory of a host, or gives it back."""
        if self.claimed and self.random.random() < 0.5:
            consumer = self.claimed.pop(self.random.randrange(len(self.claimed)))
            await Writer(top.store).write(lambda reading: (_ended(reading, consumer), None))
            return
        providers = [s.value.uuid for s in await top.store.range(Global.PROVIDERS.under())]
        if not providers:
            return
        consumer, provider = ambient.new_uuid(), self.random.choice(providers)
        claim = allocations.Claim(
            consumer, {provider: {"MEMORY_MB": 2048}}, "outside", "outside", type=OUTSIDE, generation=None
        )
        self.claimed.append(consumer)
        await Writer(top.store).write(lambda reading: (allocations.replace(reading, [claim], ambient.now()), None))


def _ended(reading: Reading, consumer: str) -> Txn:
    return allocations.replace(reading, [allocations.Claim(consumer, {}, type=OUTSIDE)], ambient.now())


async def _rewritten(commit: Callable[[Txn], Awaitable[int]], txn: Txn, stored: Any, value: Any) -> None:
    await commit(txn.replace(stored, value))
