"""The processes of a simulated site, and what survives them: the stores and the hypervisors.

Its ordinary site has two cells with an etcd and a NATS each; the global store and bus, and cell0, are a third place.
"""

import asyncio
from contextlib import suppress
from contextvars import Context
from random import Random
from typing import Any, Final, cast

from attrs import define, evolve, field

from agents.agent import Agent
from agents.drivers.processors import ProcessorSets
from agents.drivers.simulated import Delays, Fault, SimulatedCapacity, SimulatedDriver, SimulatedHypervisor, Verb
from bus.client import Bus
from bus.service import Service
from control.cells.liveness import Liveness
from control.cells.registry import Cells
from control.conductor.cell.conductor import CellConductor
from control.conductor.top.conductor import SuperConductor
from control.scheduler.feed import Feed
from control.scheduler.service import Scheduler
from control.secrets import SiteKey
from control.top import Top
from kv.keys import Global
from kv.store import Store
from kv.twin.client import Twin
from kv.twin.faults import Odds
from kv.txn import Txn
from runtime.health import Health
from schemas.errors import HypervisorDown
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.messages import Select
from schemas.server import CELL0
from schemas.settings import AgentSettings, CellSettings, ConductorSettings, PciSettings, Settings
from schemas.subjects import SCHEDULER_SELECT
from schemas.topology import PciPool
from tests.sim.bus import Broker, SimBus, Weather
from tests.sim.loop import PROCESS, Process, VirtualLoop, outside
from tests.sim.place import Link, Place

GLOBAL: Final = "global"
CELLS: Final = ("cell1", "cell2")
KEY: Final = SiteKey(b"c2ltdWxhdGVkIHNpdGVzIGhhdmUgbm8gc2VjcmV0cyE=")
PREFIXES: Final = {GLOBAL: "g/", CELL0: "c0/"}
CALL_SECONDS: Final = 2.0
"""that a call to etcd may take"""
RESTART_SECONDS: Final = 1.0
"""after which an agent that could not start is started again, as by its unit"""

SETTINGS: Final = Settings(
    site="sim",
    conductor=ConductorSettings(
        lease_ttl=3,
        rescan_seconds=2.0,
        host_lease_ttl=6,
        spawn_timeout=120.0,
        command_timeout=30.0,
        stop_timeout=10.0,
    ),
    pci=PciSettings(('{"name": "gpu", "vendor_id": "10de", "product_id": "1db1"}',)),
    agent=AgentSettings(site="sim", heartbeat_seconds=2.0, inventory_seconds=20.0),
)

SHAPE: Final = SimulatedCapacity(
    24,
    16384,
    200,
    numa_cells=2,
    threads=2,
    pci=(PciPool("10de", "1db1", 1, numa_node=0), PciPool("10de", "1db1", 2, numa_node=1)),
    sets=ProcessorSets(frozenset({*range(8), *range(12, 20)}), frozenset({*range(8, 12), *range(20, 24)})),
)
"""of every host: a fifth of what is asked for wants its eight dedicated processors and three devices"""

TAKES: Final[dict[Verb, float | tuple[float, float]]] = {
    "spawn": (0.05, 2.0),
    "destroy": (0.01, 0.5),
    "power_off": (0.01, 1.0),
}
"""seconds of what a hypervisor does"""


@define(eq=False)
class Host:
    """A machine: it outlives its agents."""

    name: str
    cell: str
    hypervisor: SimulatedHypervisor = field(factory=SimulatedHypervisor)
    takes: dict[Verb, float | tuple[float, float]] = field(factory=lambda: dict(TAKES))
    """seconds of each verb; may be changed at any time"""
    faults: dict[Verb, Fault] = field(factory=dict)
    """of each verb; may be changed at any time"""

    def fail(self, verb: Verb, rate: float) -> None:
        """So many of its calls fail, from 0 to 1."""
        self.faults[verb] = Fault(rate)


@define(eq=False)
class Site:
    """`kill`, `pause`, `start`, `cut` may be called on any process by its name: `names` are all."""

    loop: VirtualLoop
    random: Random
    cells: tuple[str, ...] = CELLS
    hosts: int = 2
    """in each cell"""
    conductors: int = 2
    """in each cell"""
    settings: Settings = SETTINGS
    running: dict[str, Process] = field(factory=dict)
    skews: dict[str, float] = field(factory=dict)
    """of wall clocks, by the name of the process, in seconds"""
    unreadable: dict[str, None] = field(factory=dict)
    """paths of records that no process can read"""
    deaths: list[str] = field(factory=list)
    """processes that ended by themselves"""
    api: Top | None = None
    """of the API process that runs now"""
    places: dict[str, Place] = field(init=False)
    machines: dict[str, Host] = field(init=False)
    _twins: dict[Process, list[Twin]] = field(factory=dict)
    _links: dict[Twin, Link] = field(factory=dict)
    _serial: int = 0

    def __attrs_post_init__(self) -> None:
        self.places = {
            name: Place(name, Broker(self.loop, Random(self.random.random()))) for name in (GLOBAL, *self.cells)
        }
        hosts = [Host(f"h{n}.{cell}", cell) for cell in self.cells for n in range(self.hosts)]
        self.machines = {host.name: host for host in hosts}

    @property
    def names(self) -> list[str]:
        """What there is to kill."""
        return [
            "api",
            "scheduler-1",
            "scheduler-2",
            "super-1",
            "super-2",
            *(f"conductor-{cell}-{n + 1}" for cell in self.cells for n in range(self.conductors)),
            *(f"agent-{host}" for host in self.machines),
        ]

    def conductors_of(self, cell: str) -> list[str]:
        return [f"conductor-{cell}-{n + 1}" for n in range(self.conductors)]

    def agents_of(self, cell: str) -> list[str]:
        return [f"agent-{host.name}" for host in self.machines.values() if host.cell == cell]

    async def bootstrap(self) -> None:
        """Maps the cells and starts every process; returns at once."""
        store = self.store(GLOBAL)
        zero = CellMapping(CELL0, CELL0, StoreAddress((GLOBAL,), PREFIXES[CELL0]), None)
        await store.commit(Txn("map cell").create(Global.CELLS(CELL0), zero))
        for cell in self.cells:
            mapping = CellMapping(cell, cell, StoreAddress((cell,), f"{cell}/"), BusAddress(cell))
            await store.commit(Txn("map cell").create(Global.CELLS(cell), mapping))
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        """Does nothing when it runs."""
        if name in self.running:
            return
        self._serial += 1
        process = Process(f"{name}#{self._serial}", skew=self.skews.get(name, 0.0))
        self.running[name] = process
        self._twins[process] = []
        work = {
            "api": self._api,
            "scheduler": self._scheduler,
            "super": self._super,
            "conductor": self._conductor,
            "agent": self._agent,
        }[name.split("-")[0]]
        task = self.loop.spawn(process, work(process, name))
        task.add_done_callback(lambda done: self._ended(process, done), context=Context())

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        """None should end by itself, but an agent whose hypervisor is down at its start."""
        if process.dead or task.cancelled():
            return
        if isinstance(task.exception(), HypervisorDown):
            name = process.name.split("#")[0]
            self.kill(name)
            outside(self.loop.call_later, RESTART_SECONDS, self.start, name)
        else:
            self.deaths.append(f"{process.name} ended by itself: {task.exception()!r}")

    def kill(self, name: str) -> None:
        """As SIGKILL; does nothing when it does not run."""
        process = self.running.pop(name, None)
        if name == "api":
            self.api = None
        if process is not None:
            process.dead = True
            for place in self.places.values():
                place.forget(process)
            for twin in self._twins.pop(process):
                del self._links[twin]
                outside(twin.disconnect)

    def pause(self, name: str) -> None:
        if name in self.running:
            self.running[name].paused = True

    def resume(self, name: str) -> None:
        if name in self.running and self.running[name].paused:
            self.loop.resume(self.running[name])

    def cut_store(self, name: str, place: str, *, refuse: bool = False) -> None:
        """The process reaches the place's etcd no more: its calls hang or, with `refuse`, end at once."""
        for twin, link in self._ways(name, place):
            link.cut, link.refuse = True, refuse
            if refuse:
                outside(twin.disconnect)

    def cut_bus(self, name: str, place: str) -> None:
        """The process and the place's NATS hear nothing of each other."""
        if name in self.running:
            self.places[place].broker.cut[self.running[name]] = None

    def silence(self, name: str, place: str) -> None:
        """The process's watches and keep-alives of the place say nothing more, as on a member that stands still; its
        calls, which go to another member, are answered."""
        for _, link in self._ways(name, place):
            link.silent = True

    def heal(self, name: str) -> None:
        """It reaches everything again."""
        process = self.running.get(name)
        if process is None:
            return
        for place in self.places.values():
            place.broker.cut.pop(process, None)
        for twin in self._twins[process]:
            link = self._links[twin]
            link.cut = link.refuse = link.silent = False
            link.wake()

    def reopen(self, name: str, place: str) -> None:
        """The process's streams of the place break, and can be opened again at once."""
        for twin, _ in self._ways(name, place):
            outside(twin.disconnect)

    def calm(self) -> None:
        """No more faults, and every process runs."""
        for place in self.places.values():
            place.calm()
            place.broker.weather = Weather()
        for host in self.machines.values():
            host.hypervisor.down = False
            host.takes.update(TAKES)
        for name, skew in self.skews.items():
            if skew:
                self.kill(name)
        self.skews.clear()
        for name in self.names:
            self.resume(name)
            self.start(name)

    def trouble(self, host: str) -> str:
        """Why the host cannot be reached or cannot work now; empty: it can."""
        machine = self.machines[host]
        agent = self.running.get(f"agent-{host}")
        place = self.places[machine.cell]
        if agent is None or agent.paused or agent.skew:
            return "no agent"
        if machine.hypervisor.down or machine.takes != TAKES:
            return "no hypervisor"
        if agent in place.broker.cut or not place.whole or not self.places[GLOBAL].whole:
            return "cut off"
        conductors = [self.running.get(name) for name in self.conductors_of(machine.cell)]
        if not any(p and not p.paused and not p.skew and self._hears(p, place) for p in conductors):
            return "no conductor"
        return ""

    def _hears(self, process: Process, place: Place) -> bool:
        links = [self._links[twin] for twin in self._twins[process]]
        return process not in place.broker.cut and not any(link.cut or link.silent for link in links)

    def store(self, name: str) -> Store:
        """For looking from outside, without faults: `global`, `cell0` or a cell."""
        return Store(Twin(self.places[GLOBAL if name == CELL0 else name].cluster), PREFIXES.get(name, f"{name}/"))

    def place_of(self, store: Store) -> Place:
        """Where a store of one of its processes is."""
        return self.places[store.etcd.target]

    def _ways(self, name: str, place: str) -> list[tuple[Twin, Link]]:
        """The process's connections to the place's etcd."""
        process = self.running.get(name)
        ways = [(twin, self._links[twin]) for twin in self._twins[process]] if process else []
        return [(twin, link) for twin, link in ways if link.place.name == place]

    def _twin(self, place: str) -> Twin:
        process = PROCESS.get()
        link = self.places[place].link(Random(self.random.random()), process)
        twin = Twin(self.places[place].cluster, link, timeout=CALL_SECONDS, target=place)
        if process in self._twins:
            self._twins[process].append(twin)
            self._links[twin] = link
        return twin

    async def top(self, name: str) -> Top:
        """Handles of the global store and the cells for the running process."""
        buses: dict[str, Bus] = {}

        async def connect(settings: Any, _: str) -> Bus:
            if settings.url not in buses:
                buses[settings.url] = cast(Bus, SimBus(self.places[settings.url].broker))
            return buses[settings.url]

        store = Store(self._twin(GLOBAL), PREFIXES[GLOBAL])
        cells = Cells(
            store, KEY, name, with_bus=True, open_etcd=lambda at: self._twin(at.endpoints[0]), connect=connect
        )
        asyncio.get_running_loop().create_task(cells.run())
        await cells.mappings.synced.wait()
        bus = cast(Bus, SimBus(self.places[GLOBAL].broker))
        return Top(self.settings, store, bus, cells, KEY, Liveness(store, cells))

    async def _api(self, process: Process, name: str) -> None:
        self.api = await self.top(process.name)
        await asyncio.Event().wait()

    async def _scheduler(self, process: Process, name: str) -> None:
        top = await self.top(process.name)
        feed = Feed(top)
        feeding = asyncio.create_task(feed.run())
        await feed.until_ready()
        service = Service(top.bus, "scheduler", "0", "")
        scheduler = Scheduler(top, feed, draw=Random(self.random.random()))
        await service.serve("select", SCHEDULER_SELECT, Select, scheduler.select)
        await feeding

    async def _super(self, process: Process, name: str) -> None:
        top = await self.top(process.name)
        conductor = SuperConductor(top, cast(Any, None), process.name)
        await conductor.run(Health(), asyncio.Event())

    async def _conductor(self, process: Process, name: str) -> None:
        cell = name.split("-")[1]
        settings = evolve(self.settings, cell=CellSettings(cell))
        bus = cast(Bus, SimBus(self.places[cell].broker))
        await CellConductor(settings, Store(self._twin(cell), f"{cell}/"), bus, process.name).run(
            Health(), asyncio.Event()
        )

    async def _agent(self, process: Process, name: str) -> None:
        machine = self.machines[name.removeprefix("agent-")]
        bus = cast(Bus, SimBus(self.places[machine.cell].broker))
        driver = SimulatedDriver(
            machine.name,
            machine.hypervisor,
            SHAPE,
            Delays(machine.takes),
            machine.faults,
            Random(self.random.random()),
        )
        settings = evolve(self.settings.agent, host=machine.name, cell=machine.cell)
        with suppress(asyncio.CancelledError):
            service = Service(bus, "agent", "0", "")
            await Agent(settings, machine.name, machine.name, driver, bus, service).run()


def set_odds(site: Site, odds: Odds) -> None:
    """Of every call of every process to every etcd."""
    for place in site.places.values():
        place.odds = odds
