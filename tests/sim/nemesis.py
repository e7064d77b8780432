"""What goes wrong, and how often. Each fault ends by itself; `Site.calm` ends them all."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

from attrs import define, field

from kv.keys import Cell, Global
from kv.store import Store
from kv.txn import Txn
from schemas.shards import SHARDS
from tests.sim.loop import PROCESS, outside
from tests.sim.site import GLOBAL, TAKES, Site

WEIGHTS: Final[dict[str, float]] = {
    "kill": 6,
    "pause": 3,
    "host": 1,
    "bus": 1,
    "leader": 1,
    "compact": 1,
    "reopen": 1,
    "bus long": 0.5,
    "cut conductors": 0.5,
    "cut": 1.5,
    "cut agent": 0.7,
    "freeze": 0.5,
    "silent": 0.7,
    "full": 0.4,
    "slow hypervisor": 0.5,
    "dead hypervisor": 0.4,
    "skew": 0.4,
    "all at once": 0.2,
    "unreadable": 0.2,
}
"""by name, how often each fault is drawn"""

AIMED: Final = (
    "place",
    "hand over",
    "take back",
    "clear cell",
    "cleared",
    "claim",
    "bury",
    "forget server",
    "accept server",
    "boot step",
    "boot finish",
    "delete finish",
    "update server",
    "update request",
    "accept action",
    "accept delete",
    "give back",
)
"""purposes of transactions between whose read and commit a process may be held up"""


@define(eq=False)
class Nemesis:
    """`faults` are the names of those that happen. `aim` is the purpose whose commits are held up."""

    site: Site
    random: Random
    faults: dict[str, float]
    aim: str = ""
    aim_odds: float = 0.25
    races: float = 0.0
    """the chance of each commit that a record which it writes is rewritten at the last moment, as it is"""
    kills: int = 0
    happened: dict[str, int] = field(factory=dict)
    _tasks: dict[asyncio.Task[None], None] = field(factory=dict)

    async def run(self) -> None:
        """Until cancelled; what is under way then ends with `stop`."""
        while self.faults:
            await asyncio.sleep(self.random.uniform(0.2, 4.0))
            name = self.random.choices(list(self.faults), list(self.faults.values()))[0]
            self.happened[name] = self.happened.get(name, 0) + 1
            work = getattr(self, "_" + name.replace(" ", "_"))()
            if name in AT_ONCE:
                await work
            else:
                self._begin(work)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def before_commit(self, store: Store, txn: Txn) -> None:
        """A hook around every commit: now and then its whole process stands still between read and commit, or only
        this commit is late."""
        process = PROCESS.get()
        if process is not None and self.races and self.random.random() < self.races:
            self._race(store, txn)
        if process is None or txn.purpose != self.aim or self.random.random() > self.aim_odds:
            return
        seconds = self.random.choice([0.3, 2.0, self.random.uniform(0, 9)])
        if self.random.random() < 0.5:
            process.paused = True
            outside(self.site.loop.call_later, seconds, self.site.loop.resume, process)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(seconds)

    def _race(self, store: Store, txn: Txn) -> None:
        """As when another process writes one of the same records between read and commit: the transaction must lose,
        and be decided again."""
        place = self.site.place_of(store)
        if not place.whole:
            return
        there = [kv for path in txn.writes if (kv := place.get((store.prefix + path).encode())) is not None]
        there = [kv for kv in there if not kv.lease]  # nobody but its owner writes what is under a lease
        if there:
            kv = self.random.choice(there)
            outside(place.write, kv.key, kv.value, kv.lease)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def _cell(self) -> str:
        return self.random.choice(self.site.cells)

    async def _kill(self) -> None:
        name = self.random.choice(self.site.names)
        self.kills += 1
        self.site.kill(name)
        await asyncio.sleep(self.random.choice([0.05, 1.0, self.random.uniform(0, 12)]))
        self.site.start(name)

    async def _pause(self) -> None:
        name = self.random.choice(self.site.names)
        self.site.pause(name)
        await asyncio.sleep(self.random.uniform(0.5, 10))
        self.site.resume(name)

    async def _host(self) -> None:
        """Dead for longer than its lease: the others go on while nothing answers for it."""
        name = self.random.choice([n for n in self.site.names if n.startswith("agent-")])
        self.kills += 1
        self.site.kill(name)
        await asyncio.sleep(self.random.uniform(8, 30))
        self.site.start(name)

    async def _bus(self) -> None:
        await self._bus_away(self.random.uniform(0.1, 5))

    async def _bus_long(self) -> None:
        """For longer than a host lease."""
        await self._bus_away(self.random.uniform(7, 20))

    async def _bus_away(self, seconds: float) -> None:
        place = self.site.places[self.random.choice(list(self.site.places))]
        place.broker.down = True
        await asyncio.sleep(seconds)
        place.broker.down = False

    async def _leader(self) -> None:
        self.site.places[self.random.choice(list(self.site.places))].cluster.restart()

    async def _compact(self) -> None:
        self.site.places[self.random.choice(list(self.site.places))].cluster.compact_all()

    async def _reopen(self) -> None:
        """One process's watches of one place are opened again, several times in a row."""
        name, place = self.random.choice(self.site.names), self.random.choice(list(self.site.places))
        for _ in range(5):
            self.site.reopen(name, place)
            await asyncio.sleep(self.random.uniform(0.2, 2.0))

    async def _cut_conductors(self) -> None:
        """All conductors of a cell from its etcd, for longer than a host lease."""
        cell = self._cell()
        refuse = self.random.random() < 0.5
        names = self.site.conductors_of(cell)
        for name in names:
            self.site.cut_store(name, cell, refuse=refuse)
        await asyncio.sleep(self.random.uniform(7, 15))
        for name in names:
            self.site.heal(name)

    async def _cut(self) -> None:
        """One process from one etcd or NATS."""
        name, place = self.random.choice(self.site.names), self.random.choice(list(self.site.places))
        if self.random.random() < 0.6:
            self.site.cut_store(name, place, refuse=self.random.random() < 0.3)
        else:
            self.site.cut_bus(name, place)
        await asyncio.sleep(self.random.uniform(1, 15))
        self.site.heal(name)

    async def _cut_agent(self) -> None:
        """An agent from its NATS, for longer than its host's lease."""
        cell = self._cell()
        name = self.random.choice(self.site.agents_of(cell))
        self.site.cut_bus(name, cell)
        await asyncio.sleep(self.random.uniform(6, 30))
        self.site.heal(name)

    async def _freeze(self) -> None:
        """An etcd stands still for up to three host leases, and goes on."""
        place = self.site.places[self.random.choice(list(self.site.places))]
        place.freeze()
        await asyncio.sleep(self.random.uniform(1, 18))
        place.thaw()

    async def _silent(self) -> None:
        """One process's watches and keep-alives of one place say nothing, as on a member that stands still."""
        name, place = self.random.choice(self.site.names), self.random.choice(list(self.site.places))
        self.site.silence(name, place)
        await asyncio.sleep(self.random.uniform(1, 12))
        self.site.heal(name)

    async def _full(self) -> None:
        place = self.site.places[self.random.choice(list(self.site.places))]
        place.full = True
        await asyncio.sleep(self.random.uniform(1, 10))
        place.full = False

    async def _slow_hypervisor(self) -> None:
        machine = self.random.choice(list(self.site.machines.values()))
        machine.takes.update({"spawn": (5.0, 25.0), "destroy": (1.0, 10.0), "power_off": (1.0, 12.0)})
        await asyncio.sleep(self.random.uniform(5, 25))
        machine.takes.update(TAKES)

    async def _dead_hypervisor(self) -> None:
        machine = self.random.choice(list(self.site.machines.values()))
        machine.hypervisor.down = True
        await asyncio.sleep(self.random.uniform(2, 25))
        machine.hypervisor.down = False

    async def _skew(self) -> None:
        """A process starts again with a clock that is some seconds off."""
        name = self.random.choice(self.site.names)
        self.site.kill(name)
        self.site.skews[name] = self.random.uniform(-5, 5)
        self.site.start(name)
        await asyncio.sleep(self.random.uniform(5, 20))
        self.site.kill(name)
        del self.site.skews[name]
        self.site.start(name)

    async def _all_at_once(self) -> None:
        for name in self.site.names:
            self.site.kill(name)
        await asyncio.sleep(self.random.uniform(0.1, 9))
        for name in self.site.names:
            self.site.start(name)

    async def _unreadable(self) -> None:
        """A record that no process can read, such as of a release far ahead, among the operations of a store."""
        store = self.random.choice([GLOBAL, *self.site.cells])
        families = Global if store == GLOBAL else Cell
        key = families.OPERATIONS(self.random.randrange(SHARDS), f"unreadable-{self.random.randrange(1000)}")
        self.site.unreadable[key.path] = None
        place = self.site.places[store]
        full = f"{'g/' if store == GLOBAL else f'{store}/'}{key.path}"
        place.write(full.encode(), b'{"record":"Operation/99"}')


AT_ONCE: Final = frozenset({"kill", "pause", "bus", "leader", "compact", "all at once", "unreadable"})
"""faults that are over, or done, before the next one begins; the others go on beside it"""
