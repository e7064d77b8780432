"""The agent's process: the machine's identity and lock, the configured driver, one Agent a host."""

import asyncio
import fcntl
import os
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, get_args
from uuid import NAMESPACE_DNS, uuid4, uuid5

import structlog
from attrs import evolve

from agents.agent import Agent
from agents.crew import Crew
from agents.drivers.base import Driver
from agents.drivers.devices import device_specs
from agents.drivers.processors import ProcessorSets, processor_sets
from agents.drivers.simulated import Delays, Fault, SimulatedCapacity, SimulatedDriver, SimulatedHypervisor, Verb
from agents.drivers.simulated_capacity import simulated_pools
from bus.client import Bus
from bus.service import Service
from runtime.health import Health
from runtime.process import Role, drained, run_until
from schemas.errors import KilonovaError
from schemas.settings import AgentSettings, Settings, SimulatedSettings
from schemas.subjects import AGENT_SERVICE, inbox

log = structlog.get_logger()


VERBS: Final[Mapping[str, Verb]] = {verb: verb for verb in get_args(Verb)}


class AgentSetupError(KilonovaError):
    """The agent cannot run on this machine as configured."""


def agent_role(settings: Settings) -> Role:
    async def role(health: Health, stopping: asyncio.Event) -> None:
        chosen = settings.agent
        name = chosen.host or socket.gethostname()
        state = Path(chosen.state_dir)
        with host_lock(state), hypervisor_lock(chosen):
            host_id = machine_id(state)
            bus = await Bus.connect(chosen.bus, f"agent {name}", inbox=inbox(name))
            service = Service(bus, AGENT_SERVICE, "0.1.0", f"drives the hypervisor of {name}")
            await service.start()
            crew = Crew(bus, chosen.cell, chosen.heartbeat_seconds)
            agents = [
                Agent(chosen, host, str(uuid5(NAMESPACE_DNS, f"{host_id}/{host}")), driver, bus, service, crew)
                for host, driver in drivers_of(chosen, name)
            ]
            health.checks["registered"] = lambda: all(a.registered for a in agents)
            await run_until(stopping, crew.run(), *(a.run() for a in agents))
            await drained(5, service.stop())
            await bus.drain()

    return role


def drivers_of(settings: AgentSettings, name: str) -> Iterator[tuple[str, Driver]]:
    """Raises AgentSetupError for an unknown driver or one whose library is not installed, and for settings that make no
    sense together."""
    try:
        sets, devices = processor_sets(settings.compute), device_specs(settings.pci.device_spec)
        if settings.driver == "simulated":
            capacity = _simulated_capacity(settings.simulated, sets)
    except ValueError as error:
        raise AgentSetupError(str(error)) from error
    if settings.driver == "simulated":
        yield from _simulated(settings.simulated, capacity, name)
    elif settings.driver == "libvirt":
        try:
            from agents.drivers.libvirt.driver import LibvirtDriver
        except ImportError as error:
            raise AgentSetupError(f"the libvirt driver needs the package libvirt-python: {error}") from error
        libvirt = evolve(settings.libvirt, hostname=name, state_dir=Path(settings.state_dir))
        yield name, LibvirtDriver(libvirt, sets, devices)
    else:
        raise AgentSetupError(f"no driver is called {settings.driver!r}: libvirt or simulated")


def _simulated_capacity(settings: SimulatedSettings, sets: ProcessorSets) -> SimulatedCapacity:
    return SimulatedCapacity(
        settings.vcpus,
        settings.memory_mb,
        settings.local_gb,
        numa_cells=settings.numa_cells,
        threads=settings.threads,
        huge_pages={int(size): count for size, count in settings.huge_pages.items()},
        pci=simulated_pools(settings.devices),
        sets=sets,
    )


def _simulated(settings: SimulatedSettings, capacity: SimulatedCapacity, name: str) -> Iterator[tuple[str, Driver]]:
    """One host under the agent's name, or several, numbered from 1."""
    other = settings.other_seconds
    usual: dict[Verb, float] = {
        "spawn": settings.spawn_seconds,
        "destroy": other,
        "power_on": other,
        "power_off": other,
    }
    failing: dict[Verb, float] = {"spawn": settings.failure_rate} if settings.failure_rate else {}
    state = Path(settings.state_dir) if settings.state_dir else None
    if state:
        state.mkdir(mode=0o750, parents=True, exist_ok=True)
    for number in range(1, settings.hosts + 1):
        host = name if settings.hosts == 1 else f"{name}-{number}"
        hypervisor = SimulatedHypervisor(state / f"{host}.json" if state else None)
        chance = random.Random(f"{settings.seed}/{host}")
        delays = Delays(usual | by_verb(settings.delays, host))
        faults = {verb: Fault(rate) for verb, rate in (failing | by_verb(settings.failures, host)).items()}
        yield host, SimulatedDriver(host, hypervisor, capacity, delays, faults, chance)


def by_verb(figures: Mapping[str, float], host: str) -> dict[Verb, float]:
    """What is said of a host's verbs: `verb` is of every host, `host:verb` of one and comes before. Raises
    AgentSetupError for what is no verb."""
    of_all: dict[Verb, float] = {}
    of_this: dict[Verb, float] = {}
    for name, figure in figures.items():
        where, _, verb = name.rpartition(":")
        if verb not in VERBS:
            raise AgentSetupError(f"simulated hosts have no verb {verb!r}; they have {', '.join(sorted(VERBS))}")
        if where in ("", host):
            (of_this if where else of_all)[VERBS[verb]] = figure
    return of_all | of_this


@contextmanager
def hypervisor_lock(settings: AgentSettings) -> Iterator[None]:
    """Keeps two agents of a site off one libvirt, whatever their state directories: each would take the other's guests
    for strays. A name in the machine's (network) namespace, which ends with the process. Raises AgentSetupError."""
    if settings.driver != "libvirt":
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(f"\0kilonova-agent {settings.site} {settings.libvirt.uri}"[:108])
        except OSError as error:
            what = f"{settings.libvirt.uri} for site {settings.site}"
            raise AgentSetupError(f"another agent drives {what} on this machine already") from error
        yield


def machine_id(state: Path) -> str:
    """This machine's id, made once; it says that a restarted agent is the same host."""
    path = state / "host_id"
    if path.exists():
        return path.read_text().strip()
    fresh = str(uuid4())
    partial = path.with_suffix(".new")
    partial.write_text(fresh + "\n")
    os.replace(partial, path)
    return fresh


@contextmanager
def host_lock(state: Path) -> Iterator[None]:
    """Keeps two agent processes with one state directory apart. Raises AgentSetupError."""
    try:
        # QEMU, whoever it runs as, gets through to its guest's files.
        state.mkdir(mode=0o711, parents=True, exist_ok=True)
        file = (state / "agent.lock").open("w")
    except OSError as error:
        raise AgentSetupError(f"the state directory {state} cannot be used: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AgentSetupError(f"another agent runs with the state directory {state}") from error
        yield
