"""The processes of a simulated site, and what survives them: the store and the hypervisors."""

import asyncio
from contextlib import suppress
from contextvars import Context
from random import Random
from typing import Any, Final, cast

from attrs import define, evolve, field
from cryptography.fernet import Fernet

from agents.agent import Agent
from agents.drivers.processors import ProcessorSets
from agents.drivers.simulated import Delays, Fault, SimulatedCapacity, SimulatedDriver, SimulatedHypervisor
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
from kv.twin.cluster import Cluster
from kv.twin.faults import Odds, RandomFaults
from kv.txn import Txn
from runtime.health import Health
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.messages import Select
from schemas.settings import (
    AgentSettings,
    CellSettings,
    ConductorSettings,
    PciSettings,
    Settings,
)
from schemas.subjects import SCHEDULER_SELECT
from schemas.topology import PciPool
from tests.sim.bus import Broker, SimBus
from tests.sim.loop import PROCESS, Process, VirtualLoop, outside

CELL: Final = "cell1"
KEY: Final = SiteKey(Fernet.generate_key())
PREFIXES: Final = {"global": "g/", "cell0": "c0/", CELL: "c1/"}

SETTINGS: Final = Settings(
    site="sim",
    cell=CellSettings(CELL),
    conductor=ConductorSettings(
        lease_ttl=3,
        rescan_seconds=2.0,
        host_lease_ttl=6,
        spawn_timeout=120.0,
        command_timeout=30.0,
        stop_timeout=10.0,
    ),
    pci=PciSettings(('{"name": "gpu", "vendor_id": "10de", "product_id": "1db1"}',)),
    agent=AgentSettings(cell=CELL, site="sim", heartbeat_seconds=2.0, inventory_seconds=20.0),
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


class SimCluster(Cluster):
    """Its timers are nobody's: a lease runs out though the process that wound the clock is dead."""

    def _wind(self) -> None:
        outside(super()._wind)

    def apply_later(self, seconds: float, method: Any, request: Any) -> None:
        outside(super().apply_later, seconds, method, request)


@define(eq=False)
class Host:
    name: str
    hypervisor: SimulatedHypervisor = field(factory=SimulatedHypervisor)


@define(eq=False)
class Site:
    """`kill`, `pause` and `start` may be called on any process by its name."""

    loop: VirtualLoop
    random: Random
    hosts: int = 3
    odds: Odds = field(factory=Odds)
    spawn_fails: float = 0.0
    cluster: SimCluster = field(factory=SimCluster)
    running: dict[str, Process] = field(factory=dict)
    deaths: list[str] = field(factory=list)
    api: Top | None = None
    """of the API process that runs now"""
    broker: Broker = field(init=False)
    machines: dict[str, Host] = field(init=False)
    _twins: dict[Process, list[Twin]] = field(factory=dict)
    _serial: int = 0

    def __attrs_post_init__(self) -> None:
        self.broker = Broker(self.loop, Random(self.random.random()))
        self.machines = {f"h{n}": Host(f"h{n}") for n in range(self.hosts)}

    @property
    def names(self) -> list[str]:
        """What there is to kill."""
        return [
            "api",
            "scheduler-1",
            "scheduler-2",
            "super-1",
            "super-2",
            "conductor-1",
            "conductor-2",
            *(f"agent-{h}" for h in self.machines),
        ]

    async def bootstrap(self) -> None:
        store = Store(Twin(self.cluster), PREFIXES["global"])
        for name in ("cell0", CELL):
            bus = BusAddress("sim") if name == CELL else None
            mapping = CellMapping(name, name, StoreAddress(("sim",), PREFIXES[name]), bus)
            await store.commit(Txn("map cell").create(Global.CELLS(name), mapping))
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        if name in self.running:
            return
        self._serial += 1
        process = Process(f"{name}#{self._serial}")
        self.running[name] = process
        self._twins[process] = []
        kind = name.split("-")[0]
        work = {
            "api": self._api,
            "scheduler": self._scheduler,
            "super": self._super,
            "conductor": self._conductor,
            "agent": self._agent,
        }[kind]
        task = self.loop.spawn(process, work(process, name))
        task.add_done_callback(lambda done: self._ended(process, done), context=Context())

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        """Nobody restarts a process that ends by itself: none should."""
        if not process.dead and not task.cancelled():
            self.deaths.append(f"{process.name} ended by itself: {task.exception()!r}")

    def kill(self, name: str) -> None:
        process = self.running.pop(name, None)
        if name == "api":
            self.api = None
        if process is not None:
            process.dead = True
            self.broker.drop(process)
            for twin in self._twins.pop(process):
                outside(twin.disconnect)

    def pause(self, name: str) -> None:
        if name in self.running:
            self.running[name].paused = True

    def resume(self, name: str) -> None:
        if name in self.running and self.running[name].paused:
            self.loop.resume(self.running[name])

    def store(self, name: str, twin: Twin | None = None) -> Store:
        """For looking from outside, without faults."""
        return Store(twin or Twin(self.cluster), PREFIXES[name])

    def _twin(self) -> Twin:
        process = PROCESS.get()
        twin = Twin(self.cluster, RandomFaults(Random(self.random.random()), self.odds), timeout=2.0)
        if process in self._twins:
            self._twins[process].append(twin)
        return twin

    async def top(self, name: str) -> Top:
        """Handles of the global store and the cells for the running process."""
        bus = cast(Bus, SimBus(self.broker))

        async def connect(_: Any, __: str) -> Bus:
            return bus

        store = Store(self._twin(), PREFIXES["global"])
        cells = Cells(store, KEY, name, with_bus=True, open_etcd=lambda _: self._twin(), connect=connect)
        asyncio.get_running_loop().create_task(cells.run())
        await cells.mappings.synced.wait()
        return Top(SETTINGS, store, bus, cells, KEY, Liveness(store, cells))

    async def _api(self, process: Process, name: str) -> None:
        self.api = await self.top(process.name)
        await asyncio.Event().wait()

    async def _scheduler(self, process: Process, name: str) -> None:
        top = await self.top(process.name)
        feed = Feed(top)
        feeding = asyncio.create_task(feed.run())
        await feed.until_ready()
        service = Service(top.bus, "scheduler", "0", "")
        await service.serve("select", SCHEDULER_SELECT, Select, Scheduler(top, feed).select)
        await feeding

    async def _super(self, process: Process, name: str) -> None:
        top = await self.top(process.name)
        conductor = SuperConductor(top, cast(Any, None), process.name)
        await conductor.run(Health(), asyncio.Event())

    async def _conductor(self, process: Process, name: str) -> None:
        store = Store(self._twin(), PREFIXES[CELL])
        bus = cast(Bus, SimBus(self.broker))
        await CellConductor(SETTINGS, store, bus, process.name).run(Health(), asyncio.Event())

    async def _agent(self, process: Process, name: str) -> None:
        machine = self.machines[name.removeprefix("agent-")]
        bus = cast(Bus, SimBus(self.broker))
        faults = {"spawn": Fault(self.spawn_fails)} if self.spawn_fails else None
        driver = SimulatedDriver(
            machine.name,
            machine.hypervisor,
            SHAPE,
            Delays({"spawn": (0.05, 2.0), "destroy": (0.01, 0.5), "power_off": (0.01, 1.0)}),
            faults,  # type: ignore[arg-type]  # literals of verbs
            Random(self.random.random()),
        )
        with suppress(asyncio.CancelledError):
            await Agent(
                evolve(SETTINGS.agent, host=machine.name),
                machine.name,
                machine.name,
                driver,
                bus,
                Service(bus, "agent", "0", ""),
            ).run()
