"""A hypervisor in memory: hosts by the thousand in one process, with delays and failures to order.

`SimulatedHypervisor` is the machine, `SimulatedDriver` the agent's handle on it. The machine outlives its drivers as a
real one outlives its agent: pass the same object, or one made over the same state file, to adopt its guests.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final, Literal

from attrs import evolve, field, frozen

from agents.drivers.base import Driver, OnChange, not_halted
from agents.drivers.simulated_capacity import SimulatedCapacity
from agents.drivers.simulated_machine import NO_TOPOLOGY, SimulatedGuest, SimulatedHypervisor
from agents.grant import permission_to_start
from agents.progress import tell_progress
from schemas.errors import GuestNotFound, HostError, HostFull, HypervisorDown, ImageUnusable, WrongState
from schemas.guest import (
    Address,
    CpuDiagnostics,
    Diagnostics,
    DiskDiagnostics,
    GuestMark,
    GuestSpec,
    GuestState,
    HostFacts,
    ImageGrant,
    NicDiagnostics,
    PowerState,
)

__all__ = [
    "Delays",
    "Fault",
    "SimulatedCapacity",
    "SimulatedDriver",
    "SimulatedGuest",
    "SimulatedHypervisor",
    "Verb",
]

Verb = Literal[
    "start",
    "facts",
    "guests",
    "guest",
    "spawn",
    "cache_image",
    "destroy",
    "power_on",
    "power_off",
    "reboot",
    "pause",
    "unpause",
    "suspend",
    "resume",
    "console_output",
    "diagnostics",
]


@frozen
class Delays:
    """Seconds. A pair is a range to draw from; verbs that are not named take no time."""

    verbs: Mapping[Verb, float | tuple[float, float]] = field(factory=dict)
    address: float | None = None
    """from a guest's start until its addresses are reported; None: they come with the start's own result"""
    progress: Callable[[], float | None] = lambda: None
    """seconds between two words of progress of what takes long; None: none"""


@frozen
class Fault:
    """Makes a verb fail in `rate` of its calls; `late` ones fail after they took effect."""

    rate: float
    error: Callable[[str], Exception] = HostError
    message: str = "simulated failure"
    late: bool = False


class SimulatedDriver(Driver):
    """One simulated host. All chance comes from `random`, so a seed replays it."""

    def __init__(
        self,
        hostname: str,
        hypervisor: SimulatedHypervisor | None = None,
        capacity: SimulatedCapacity | None = None,
        delays: Delays = Delays(),
        faults: Mapping[Verb, Fault] | None = None,
        random: Random | None = None,
        host_ip: str = "127.0.0.1",
    ) -> None:
        self.hypervisor = hypervisor or SimulatedHypervisor()
        self._hostname = hostname
        self._capacity = capacity or SimulatedCapacity()
        self._delays = delays
        self._faults = faults if faults is not None else {}
        self._random = random or Random(0)
        self._host_ip = host_ip
        self._on_change: OnChange | None = None
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def down(self) -> str:
        return f"the simulated hypervisor of {self._hostname} is down" if self.hypervisor.down else ""

    async def start(self, on_change: OnChange) -> None:
        await self._work("start")
        self._on_change = on_change
        self.hypervisor.watch(on_change)
        for server, guest in self.hypervisor.guests.items():
            if guest.state.power_state == PowerState.RUNNING and not guest.state.addresses:
                self._address_later(server)

    async def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._on_change is not None:
            self.hypervisor.unwatch(self._on_change)
            self._on_change = None

    async def facts(self) -> HostFacts:
        await self._work("facts")
        capacity = self._capacity
        return HostFacts(
            vcpus=len(capacity.offered.shared),
            memory_mb=capacity.memory_mb,
            local_gb=capacity.local_gb,
            hypervisor_type="QEMU",
            hypervisor_version=7002000,
            hypervisor_hostname=self._hostname,
            host_ip=self._host_ip,
            cpu_info=_cpu_info(capacity),
            traits=_TRAITS | {"HW_CPU_HYPERTHREADING"} if capacity.threads > 1 else _TRAITS,
            booted=_BOOTED,
            topology=capacity.topology,
            pci=capacity.pci,
            boot_id=self.hypervisor.boot_id,
            pcpus=len(capacity.offered.dedicated),
            reserved_vcpus=capacity.sets.reserved,
            trouble=self.hypervisor.trouble,
            takes_guests=self.hypervisor.takes_guests,
        )

    async def guests(self) -> Sequence[GuestState]:
        await self._work("guests")
        return [guest.state for guest in self.hypervisor.guests.values()]

    async def guest(self, server: str) -> GuestState:
        await self._work("guest")
        return self._guest(server).state

    async def spawn(self, spec: GuestSpec) -> GuestState:
        await self._work("spawn")
        server = spec.mark.server
        if not self.hypervisor.takes_guests:
            raise HostError(self.hypervisor.trouble)
        old = self.hypervisor.guests.get(server)
        if old is not None and old.state.mark is None:
            raise HostError(f"domain {server} is not of our making")
        if old is None or old.state.mark is None or old.state.mark.operation != spec.mark.operation:
            self._check_image(spec.image)
            self._check_room(spec)
            self.hypervisor.guests.pop(server, None)
            old = SimulatedGuest(
                GuestState(server, PowerState.SHUTDOWN, spec.mark),
                memory_mb=spec.memory_mb,
                disk_gb=spec.root_gb + spec.ephemeral_gb + -(-spec.swap_mb // 1024),
                nics=tuple((nic.network, nic.mac) for nic in spec.nics),
                topology=spec.topology or NO_TOPOLOGY,
            )
        state = await self._start(old, spec.mark)
        self._fail("spawn", late=True)
        if state.halted:
            self.hypervisor.remove(server)
        return not_halted(state)

    async def cache_image(self, image: ImageGrant) -> None:
        await self._work("cache_image")
        self._check_image(image)
        self.hypervisor.cached_images.add(image.digest)

    async def destroy(self, server: str) -> None:
        if self.hypervisor.down and server not in self.hypervisor.guests:
            return
        await self._work("destroy")
        guest = self.hypervisor.guests.get(server)
        if guest is not None and guest.state.mark is None:
            raise HostError(f"domain {server} is not of our making")
        self.hypervisor.remove(server)
        self._fail("destroy", late=True)

    async def power_on(self, server: str, mark: GuestMark) -> GuestState:
        self._guest(server)
        await self._work("power_on")
        state = await self._start(self._guest(server), mark)
        self._fail("power_on", late=True)
        return not_halted(state)

    async def power_off(self, server: str, mark: GuestMark, timeout: float) -> GuestState:
        self._guest(server)
        await self._work("power_off")
        state = self._stop(server, mark)
        self._fail("power_off", late=True)
        return state

    async def reboot(self, server: str, mark: GuestMark, hard: bool, timeout: float) -> GuestState:
        self._guest(server)
        await self._work("reboot")
        state = await self._start(self._stopped(server, mark), mark)
        self._fail("reboot", late=True)
        return not_halted(state)

    async def pause(self, server: str, mark: GuestMark) -> GuestState:
        return await self._halt(server, mark, "pause", PowerState.PAUSED)

    async def unpause(self, server: str, mark: GuestMark) -> GuestState:
        return await self._halt(server, mark, "unpause", PowerState.RUNNING)

    async def suspend(self, server: str, mark: GuestMark) -> GuestState:
        self._guest(server)
        await self._work("suspend")
        guest = self._guest(server)
        if not guest.saved and guest.state.power_state not in _ON:
            raise HostError(f"guest {server} is off: there is no memory to save")
        state = self._stop(server, mark, saved=True)
        self._fail("suspend", late=True)
        return state

    async def resume(self, server: str, mark: GuestMark) -> GuestState:
        self._guest(server)
        await self._work("resume")
        state = await self._start(self._guest(server), mark, restore=True)
        self._fail("resume", late=True)
        return not_halted(state)

    async def diagnostics(self, server: str) -> Diagnostics:
        await self._work("diagnostics")
        guest = self._guest(server)
        power_state = guest.state.power_state
        if power_state not in _ON:
            raise WrongState(f"Cannot 'get_diagnostics' instance {server} while it is in power state {power_state}")
        return Diagnostics(
            state="running" if power_state == PowerState.RUNNING else "paused",
            driver="libvirt",
            hypervisor="qemu",
            memory_maximum=guest.memory_mb,
            memory_used=guest.memory_mb,
            cpus=(CpuDiagnostics(0, guest.boots * 1_000_000_000),),
            nics=tuple(NicDiagnostics(f"tap{n}", mac, *[0] * 8) for n, (_, mac) in enumerate(guest.nics)),
            disks=(DiskDiagnostics("vda", 0, 0, 0, 0, -1),),
            memory_stats={"actual": guest.memory_mb * 1024},
        )

    async def console_output(self, server: str, lines: int | None) -> str:
        await self._work("console_output")
        kept = self._guest(server).console
        shown = kept if lines is None else kept[max(0, len(kept) - lines) :]
        return "".join(f"{line}\n" for line in shown)

    async def _work(self, verb: Verb) -> None:
        """What a call of `verb` costs and how it may end before it changed anything."""
        delay = self._delays.verbs.get(verb, 0.0)
        if isinstance(delay, tuple):
            delay = self._random.uniform(*delay)
        every = self._delays.progress()
        while every is not None and delay > every:
            await asyncio.sleep(every)
            delay -= every
            tell_progress(f"{delay:.1f} s of {verb} left")
        await asyncio.sleep(delay)
        if self.down:
            raise HypervisorDown(self.down)
        self._fail(verb, late=False)

    def _fail(self, verb: Verb, late: bool) -> None:
        fault = self._faults.get(verb)
        if fault is not None and fault.late == late and self._random.random() < fault.rate:
            raise fault.error(fault.message)

    def _guest(self, server: str) -> SimulatedGuest:
        guest = self.hypervisor.guests.get(server)
        if guest is None:
            raise GuestNotFound(f"{self._hostname} has no guest {server}")
        return guest

    def _check_image(self, image: ImageGrant | None) -> None:
        if image is not None and image.digest in self.hypervisor.unusable_images:
            raise ImageUnusable(f"image {image.id}: what was fetched does not match {image.digest}")

    def _check_room(self, spec: GuestSpec) -> None:
        others = [guest for key, guest in self.hypervisor.guests.items() if key != spec.mark.server]
        for what, wanted, used, has in (
            ("MiB of memory", spec.memory_mb, sum(g.memory_mb for g in others), self._capacity.memory_mb),
            ("GiB of disk", spec.root_gb + spec.ephemeral_gb, sum(g.disk_gb for g in others), self._capacity.local_gb),
        ):
            if used + wanted > has * self._capacity.overcommit:
                raise HostFull(f"{self._hostname}: {wanted} {what} wanted, {used} of {has} used")
        if spec.topology and (lacking := self._capacity.lacking(spec.topology, (g.topology for g in others))):
            raise HostFull(f"{self._hostname}: {lacking}")

    async def _halt(self, server: str, mark: GuestMark, verb: Literal["pause", "unpause"], to: int) -> GuestState:
        self._guest(server)
        await self._work(verb)
        guest = self._guest(server)
        if guest.state.power_state not in _ON:
            raise HostError(f"guest {server} is not running")
        not_halted(guest.state)
        state = self.hypervisor.put(evolve(guest, state=evolve(guest.state, power_state=to, mark=mark)))
        self._fail(verb, late=True)
        return state

    async def _start(self, guest: SimulatedGuest, mark: GuestMark, restore: bool = False) -> GuestState:
        await permission_to_start()
        return self._run(self.hypervisor.guests.get(guest.state.server, guest), mark, restore)

    def _run(self, guest: SimulatedGuest, mark: GuestMark, restore: bool = False) -> GuestState:
        if guest.state.halted:  # QEMU does not let such a guest go on: it has to be reset
            return self.hypervisor.put(evolve(guest, state=evolve(guest.state, mark=mark)))
        if guest.state.power_state in _ON or (restore and guest.saved):
            running = evolve(guest.state, power_state=PowerState.RUNNING, mark=mark, vnc=_VNC)
            return self.hypervisor.put(evolve(guest, state=running, saved=False))
        boots = guest.boots + 1
        console = [*guest.console, *_BOOT_LOG, f"GUEST-BOOTS {boots}", "GUEST-READY"][-200:]
        later = self._delays.address is not None and not guest.state.addresses
        addresses = guest.state.addresses if later else _addresses(guest)
        state = evolve(guest.state, power_state=PowerState.RUNNING, mark=mark, addresses=addresses, vnc=_VNC)
        if self.hypervisor.halts:
            state = evolve(state, power_state=PowerState.PAUSED, halted=self.hypervisor.halts)
        self.hypervisor.put(evolve(guest, state=state, console=console, boots=boots, saved=False))
        if later:
            self._address_later(state.server)
        return state

    def _stopped(self, server: str, mark: GuestMark) -> SimulatedGuest:
        self._stop(server, mark)
        return self._guest(server)

    def _stop(self, server: str, mark: GuestMark, saved: bool = False) -> GuestState:
        guest = self._guest(server)
        off = evolve(guest.state, power_state=PowerState.SHUTDOWN, mark=mark, vnc=None, halted="")
        return self.hypervisor.put(evolve(guest, state=off, saved=saved))

    def _address_later(self, server: str) -> None:
        def appear() -> None:
            self._timers.discard(timer)
            guest = self.hypervisor.guests.get(server)
            if guest is not None and guest.state.power_state == PowerState.RUNNING:
                self.hypervisor.put(evolve(guest, state=evolve(guest.state, addresses=_addresses(guest))))

        timer = asyncio.get_running_loop().call_later(self._delays.address or 0.0, appear)
        self._timers.add(timer)


_ON: Final = frozenset({PowerState.RUNNING, PowerState.PAUSED})
_VNC: Final = "127.0.0.1:5900"
_BOOT_LOG: Final = tuple(f"GUEST-KERNEL line {n}" for n in range(1, 11))
"""nobody listens there"""


def _addresses(guest: SimulatedGuest) -> tuple[Address, ...]:
    """The last three bytes of a MAC, so that an address is as unique as its interface and the same on every start."""
    return tuple(
        Address(network, mac, ".".join(["10", *(str(int(byte, 16)) for byte in mac.split(":")[3:])]))
        for network, mac in guest.nics
    )


def _cpu_info(capacity: SimulatedCapacity) -> dict[str, object]:
    cells, threads = capacity.numa_cells, capacity.threads
    return {
        "arch": "x86_64",
        "model": "qemu64",
        "vendor": "AMD",
        "features": [],
        "topology": {"cells": cells, "sockets": 1, "cores": capacity.vcpus // (cells * threads), "threads": threads},
    }


_BOOTED = datetime(2026, 1, 1, tzinfo=UTC)
_TRAITS = frozenset(
    {
        "COMPUTE_NODE",
        "COMPUTE_ARCH_X86_64",
        "COMPUTE_IMAGE_TYPE_QCOW2",
        "COMPUTE_IMAGE_TYPE_RAW",
        "COMPUTE_NET_VIF_MODEL_VIRTIO",
        "COMPUTE_STORAGE_BUS_VIRTIO",
        "HW_ARCH_X86_64",
    }
)
