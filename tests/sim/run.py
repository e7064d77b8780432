"""One seed: work and faults for a while, then calm, then rest, then judgement."""

import asyncio
import logging
import traceback
from datetime import timedelta
from random import Random
from typing import Final

import structlog
from attrs import define, evolve, field

from control.servers import expansion
from kv.keys import Global
from kv.store import Store
from kv.twin.faults import Odds
from kv.txn import Txn
from tests.sim.bus import Weather
from tests.sim.clients import LIMITS, OPERATES, USER, Groups, Operator, user
from tests.sim.commits import Hook, hooked
from tests.sim.invariants import pending, violations
from tests.sim.loop import VirtualLoop
from tests.sim.monitor import Monitor
from tests.sim.nemesis import AIMED, WEIGHTS, Nemesis
from tests.sim.promises import Promises
from tests.sim.site import GLOBAL, SETTINGS, Site, set_odds
from tests.sim.world import EPOCH, world

FAULTY_SECONDS: Final = 40.0
REST_SECONDS: Final = 1800.0
GRACE_SECONDS: Final = 60.0
"""after the calm and its deadline, in which an operation must have ended"""
STORMY: Final = Odds(lost_before=0.01, lost_after=0.02, late=0.005, slow=0.03)


@define
class Plan:
    """What the seeds of a run are made of."""

    off: frozenset[str] = frozenset()
    """names of faults and of operators' deeds that do not happen"""
    aim: str = ""
    """the purpose whose commits are held up; empty: the seed draws one"""
    bare: bool | None = None
    """without inventories, upkeep and rescans, so that guards hold alone; None: the seed draws"""
    rules: bool = True
    """whether transactions are held to tests/compares.py, beside what follows from them"""
    hook: Hook | None = None
    """sees every transaction before it is sent, after the nemesis"""


@define
class Outcome:
    seed: int
    violations: list[str] = field(factory=list)
    servers: int = 0
    deleted: int = 0
    kills: int = 0
    faults: dict[str, int] = field(factory=dict)
    seconds: float = 0.0
    """virtual"""


def run_seed(seed: int, plan: Plan | None = None) -> Outcome:
    """Never raises: what goes wrong in the simulation itself is a violation too."""
    outcome = Outcome(seed)
    with world(seed) as (loop, random):
        try:
            loop.run_until_complete(_run(loop, random, outcome, plan or Plan()))
        except Exception:
            outcome.violations.append(traceback.format_exc())
        outcome.seconds = loop.time()
    return outcome


async def _run(loop: VirtualLoop, random: Random, outcome: Outcome, plan: Plan) -> None:
    expansion.MAX_SERVERS = 2  # so that a request for three has a parent
    stormy = random.random() < 0.7
    flaky = random.random() < 0.3
    drawn = random.random() < 0.15
    bare = drawn if plan.bare is None else plan.bare
    aim = random.choice(AIMED)
    site = Site(loop, random, settings=BARE if bare else SETTINGS)
    if stormy and not bare:
        set_odds(site, STORMY)
        for place in site.places.values():
            place.broker.weather = Weather(lost=0.03, doubled=0.05, slow=0.05)
    promised = Promises()
    monitor = Monitor(site, promised, failures_allowed=flaky)
    for host in site.machines.values():
        if flaky:
            host.fail("spawn", 0.2)
    faults = {name: weight for name, weight in WEIGHTS.items() if name not in plan.off and not (bare and name in DEAF)}
    races = random.choice([0.0, 0.03])
    nemesis = Nemesis(site, Random(random.random()), faults, plan.aim or aim, races=races)
    does = {name: weight for name, weight in OPERATES.items() if name not in plan.off}
    operator = Operator(site, Random(random.random()), monitor, does)

    async def hook(store: Store, txn: Txn) -> None:
        await nemesis.before_commit(store, txn)
        if plan.hook is not None:
            await plan.hook(store, txn)
        if plan.rules:
            monitor.committing(txn)

    with hooked(hook):
        await _story(site, random, outcome, promised, monitor, nemesis, operator)
    outcome.kills, outcome.faults = nemesis.kills, nemesis.happened
    outcome.servers, outcome.deleted = len(promised.all()), len(promised.deleted)


async def _story(
    site: Site,
    random: Random,
    outcome: Outcome,
    promised: Promises,
    monitor: Monitor,
    nemesis: Nemesis,
    operator: Operator,
) -> None:
    await site.bootstrap()
    await site.store(GLOBAL).commit(Txn("quota").put(Global.QUOTA_LIMITS(USER.project), LIMITS))
    groups = Groups()
    watching = asyncio.create_task(monitor.run())
    work = [asyncio.create_task(user(site, random, promised, groups, monitor)) for _ in range(3)]
    work += [asyncio.create_task(nemesis.run()), asyncio.create_task(operator.run())]
    await asyncio.sleep(FAULTY_SECONDS)
    for task in work:
        task.cancel()
    nemesis.stop()
    await asyncio.gather(*work, return_exceptions=True)
    nemesis.aim = ""
    site.calm()
    await operator.undo()
    calm = EPOCH + timedelta(seconds=site.loop.time())
    for _ in range(int(REST_SECONDS / 5)):
        await asyncio.sleep(5)
        overdue = monitor.overdue(EPOCH + timedelta(seconds=site.loop.time()), calm, GRACE_SECONDS)
        if overdue:
            monitor.report("I2", f"overdue: {', '.join(overdue)}")
            break
        if not await pending(site):
            break
    await asyncio.sleep(60)  # two inventories: strays are found and removed
    watching.cancel()
    outcome.violations += monitor.violations
    outcome.violations += await violations(site, promised)
    for name in list(site.running):
        site.kill(name)


BARE: Final = evolve(
    SETTINGS,
    conductor=evolve(SETTINGS.conductor, rescan_seconds=30.0, upkeep_seconds=86400.0),
    agent=evolve(SETTINGS.agent, inventory_seconds=86400.0),
)
"""what repairs later what a guard let through is off, so that guards hold alone"""
DEAF: Final = frozenset({"bus", "bus long"})
"""faults that lose hints, which nothing repeats in a bare run"""


def quiet() -> None:
    """Ten thousand warnings a seed are what the simulation is made of."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run_quietly(seed: int, plan: Plan) -> Outcome:
    """As `run_seed`, in a process that does nothing else."""
    quiet()
    return run_seed(seed, plan)
