"""One seed: work and faults for a while, then calm, then rest, then judgement."""

import asyncio
import logging
import traceback
from contextvars import Context
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

import structlog
from attrs import define, field

from control.servers import expansion
from control.servers.change import change_server, delete_server
from control.servers.create import ServerDraft, create_servers
from control.servers.reset import reset_state
from control.top import Top
from kv.keys import Global
from kv.twin.faults import Odds
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.errors import Conflict, KilonovaError, NotFound
from schemas.flavor import Flavor
from schemas.identity import Identity
from schemas.quota import QuotaLimits
from tests.sim.bus import Weather
from tests.sim.invariants import Promises, pending, violations
from tests.sim.loop import VirtualLoop
from tests.sim.site import Site

log = structlog.get_logger()

EPOCH: Final = datetime(2030, 1, 1, tzinfo=UTC)
USER: Final = Identity("user", "user", "project", "project", frozenset({"admin"}))
FLAVORS: Final = (
    Flavor("1", "small", 1, 512, 5),
    Flavor("2", "large", 8, 4096, 50),
    Flavor("3", "huge", 64, 1, 1),
    Flavor("4", "own", 2, 512, 5, extra_specs={"hw:cpu_policy": "dedicated", "pci_passthrough:alias": "gpu:1"}),
    Flavor("5", "apart", 2, 512, 5, extra_specs={"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"}),
)
WORK: Final = {
    "create": 50,
    "delete": 30,
    "stop": 8,
    "start": 8,
    "reboot": 8,
    "pause": 4,
    "unpause": 4,
    "suspend": 4,
    "resume": 4,
    "reset": 3,
}
"""what a user asks for, and how often"""
FAULTY_SECONDS: Final = 40.0
REST_SECONDS: Final = 1800.0


@define
class Outcome:
    seed: int
    violations: list[str] = field(factory=list)
    servers: int = 0
    deleted: int = 0
    kills: int = 0
    pauses: int = 0
    seconds: float = 0.0
    """virtual"""


def run_seed(seed: int) -> Outcome:
    """Never raises: what goes wrong in the simulation itself is a violation too."""
    random = Random(seed)
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)
    before = ambient.replace_ambient(
        ambient.Ambient(
            clock=lambda: EPOCH + timedelta(seconds=loop.time()),
            uuids=lambda: str(UUID(int=random.getrandbits(128), version=4)),
            chance=random.random,
        )
    )
    outcome = Outcome(seed)
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_run(loop, random, outcome))
    except Exception:
        outcome.violations.append(traceback.format_exc())
    finally:
        outcome.seconds = loop.time()
        ambient.replace_ambient(before)
        asyncio.set_event_loop(None)
        loop.abandon()
    return outcome


async def _run(loop: VirtualLoop, random: Random, outcome: Outcome) -> None:
    expansion.MAX_SERVERS = 2  # so that a request for three has a parent
    stormy = random.random() < 0.8
    odds = Odds(lost_before=0.01, lost_after=0.02, late=0.005, slow=0.03) if stormy else Odds()
    site = Site(loop, random, odds=odds, spawn_fails=0.2 if random.random() < 0.3 else 0.0)
    site.broker.weather = Weather(lost=0.03, doubled=0.05, slow=0.05) if stormy else Weather()
    await site.bootstrap()
    store = site.store("global")
    limits = QuotaLimits({"instances": 12, "cores": 200, "ram": 10**6})
    await store.commit(Txn("quota").put(Global.QUOTA_LIMITS(USER.project), limits))
    promised = Promises()
    work = [asyncio.create_task(_client(site, random, promised)) for _ in range(3)]
    monkey = asyncio.create_task(_monkey(site, random, outcome))
    await asyncio.sleep(FAULTY_SECONDS)
    for task in (monkey, *work):
        task.cancel()
    await asyncio.gather(monkey, *work, return_exceptions=True)
    _calm(site)
    for _ in range(int(REST_SECONDS / 5)):
        await asyncio.sleep(5)
        if not await pending(site):
            break
    await asyncio.sleep(60)  # two inventories: strays are found and removed
    outcome.servers = len(promised.all())
    outcome.deleted = len(promised.deleted)
    outcome.violations += await violations(site, promised)
    for name in list(site.running):
        site.kill(name)


def _calm(site: Site) -> None:
    """No more faults, everybody is there."""
    site.broker.weather = Weather()
    site.broker.down = False
    for name, value in (("lost_before", 0.0), ("lost_after", 0.0), ("late", 0.0), ("slow", 0.0)):
        object.__setattr__(site.odds, name, value)
    for name in site.names:
        site.resume(name)
        site.start(name)


async def _monkey(site: Site, random: Random, outcome: Outcome) -> None:
    """Kills, pauses, restarts; sometimes the bus goes, sometimes etcd has a new leader or is compacted."""
    while True:
        await asyncio.sleep(random.uniform(0.2, 4.0))
        name = random.choice(site.names)
        match random.choices(["kill", "pause", "host", "bus", "leader", "compact"], [6, 3, 1, 1, 1, 1])[0]:
            case "kill":
                outcome.kills += 1
                site.kill(name)
                await asyncio.sleep(random.choice([0.05, 1.0, random.uniform(0, 12)]))
                site.start(name)
            case "pause":
                outcome.pauses += 1
                site.pause(name)
                await asyncio.sleep(random.uniform(0.5, 10))
                site.resume(name)
            case "host":
                # Dead for longer than its lease: the others go on while nobody answers for it.
                name = random.choice([n for n in site.names if n.startswith("agent-")])
                site.kill(name)
                site.loop.call_later(random.uniform(8, 30), site.start, name, context=Context())
            case "bus":
                site.broker.down = True
                await asyncio.sleep(random.uniform(0.1, 5))
                site.broker.down = False
            case "leader":
                site.cluster.restart()
            case "compact":
                site.cluster.compact(site.cluster.revision)


async def _client(site: Site, random: Random, promised: Promises) -> None:
    """One user: creates, acts, deletes. An error is no promise."""
    while True:
        await asyncio.sleep(random.uniform(0.05, 3.0))
        if site.api is None:
            continue
        REQUEST_ID.set(f"req-{ambient.new_uuid()}")
        asking = site.loop.spawn(site.running["api"], _ask(site.api, random, promised))
        # An API that dies or hangs answers nobody: the user turns away.
        await asyncio.wait([asking], timeout=15)


async def _ask(top: Top, random: Random, promised: Promises) -> None:
    REQUEST_ID.set(f"req-{ambient.new_uuid()}")
    try:
        mine = promised.there()
        what = random.choices(list(WORK), list(WORK.values()))[0]
        if what == "create" or not mine:
            count = random.choice([1, 1, 1, 3])
            flavor = random.choices(FLAVORS, [6, 3, 1, 2, 1])[0]
            draft = ServerDraft("s", flavor, None, min_count=1, max_count=count, networks="none")
            _, servers = await create_servers(top, USER, draft)
            written = expansion.at_once(draft)
            promised.answered += [s.uuid for s in servers[:written]]
            promised.charged += [s.uuid for s in servers[written:]]
        elif what == "delete":
            uuid = random.choice(mine)
            promised.doubtful.add(uuid)
            try:
                await delete_server(top, USER, uuid)
                log.info("delete answered", server=uuid)
            except NotFound:  # an earlier delete was done though its answer was lost
                log.info("delete found nothing", server=uuid)
            promised.deleted.add(uuid)
        elif what == "reset":
            uuid = random.choice(mine)
            promised.reset.add(uuid)
            await reset_state(top, USER, uuid, random.choice(["active", "error"]))
            log.info("reset answered", server=uuid)
        else:
            inputs = {"type": random.choice(["SOFT", "HARD"])} if what == "reboot" else {}
            await change_server(top, USER, random.choice(mine), what, inputs)
    except (Conflict, KilonovaError):
        return


def quiet() -> None:
    """Ten thousand warnings a seed are what the simulation is made of."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
