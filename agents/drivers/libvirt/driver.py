"""QEMU guests by libvirt."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

from attrs import evolve

from agents.drivers.base import Driver, OnChange, not_halted
from agents.drivers.devices import DeviceSpec, chosen
from agents.drivers.libvirt import domains
from agents.drivers.libvirt.connection import Connection
from agents.drivers.libvirt.console import console_tail
from agents.drivers.libvirt.diagnostics import read_diagnostics
from agents.drivers.libvirt.disks import CONSOLE_LOG, has_direct_io, make_files, remove_files
from agents.drivers.libvirt.domain_topology import Place, check_place
from agents.drivers.libvirt.domain_xml import GuestFiles, domain_xml
from agents.drivers.libvirt.facts import host_devices, host_facts, host_ip, offered_processors
from agents.drivers.libvirt.guest_state import STOPPED, SeenGuest, changes
from agents.drivers.libvirt.images import ImageCache
from agents.drivers.libvirt.network import ensure_network, leases
from agents.drivers.libvirt.topology import numa_cells
from agents.drivers.libvirt.virtualization import DomainType, KvmVerdict
from agents.drivers.libvirt.waiting import in_thread, kept_running
from agents.drivers.processors import ProcessorSets
from agents.grant import GrantExpired, permission_to_start
from schemas.errors import GuestNotFound, HostError, HypervisorDown
from schemas.guest import Diagnostics, GuestMark, GuestSpec, GuestState, HostFacts, ImageGrant, PowerState
from schemas.settings import LibvirtSettings
from schemas.topology import TopologyClaim

T = TypeVar("T")

_STOP_POLL: Final = 0.25
_BUTTON_AGAIN: Final = 10.0
"""seconds until a guest that missed the power button, as one that still boots does, sees it pressed again"""
_TRIAL_POLL: Final = 0.25
_SWEEP: Final = 30.0
"""seconds between looks at all guests when nothing seems to happen"""


class LibvirtDriver(Driver):
    """`sets` and `devices` are what of the host guests may have: without them all processors and no device."""

    def __init__(
        self,
        settings: LibvirtSettings | None = None,
        sets: ProcessorSets | None = None,
        devices: Sequence[DeviceSpec] = (),
    ) -> None:
        self._settings = settings = settings or LibvirtSettings()
        self._sets = sets or ProcessorSets()
        self._devices = devices
        self._images = ImageCache(settings.images_dir, settings.image_timeout, settings.image_ca_file)
        self._connection = self._new_connection()
        self._kvm = KvmVerdict(settings)
        self._host_ip = "127.0.0.1"
        self._stirred = asyncio.Event()
        self._seen: dict[str, GuestState] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._choosing = threading.Lock()
        """held from choosing a guest's devices until they are in its definition, where others see them"""

    @property
    def down(self) -> str:
        return self._connection.down

    async def start(self, on_change: OnChange) -> None:
        await in_thread(self._prepare)
        await self._kvm.find()
        try:
            await self._connection.open()
            await self._connection.call(lambda handle: ensure_network(handle, self._settings))
            self._seen = {seen.state.server: seen.state for seen in await self._look()}
        except BaseException:
            await self.close()
            raise
        watch = kept_running(lambda: self._watch(on_change), "libvirt-watch")
        self._watcher = asyncio.create_task(watch, name="libvirt-watch")

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        await self._connection.close()
        self._connection = self._new_connection()

    async def facts(self) -> HostFacts:
        now = self._kvm.now
        return await self._connection.call(
            lambda handle: host_facts(handle, self._settings, now, self._sets, self._devices)
        )

    async def guests(self) -> Sequence[GuestState]:
        return [seen.state for seen in await self._look()]

    async def guest(self, server: str) -> GuestState:
        return await self._connection.call(lambda handle: self._state(handle, domains.ours(handle, server)[0]))

    async def spawn(self, spec: GuestSpec) -> GuestState:
        now = self._kvm.now
        if not now.takes_guests:
            raise HostError(now.trouble)
        check_place(spec.topology, now.domain_type)
        server = spec.mark.server
        if await self._connection.call(lambda handle: self._is_made(handle, spec), server=server):
            return not_halted(await self._start(server))
        directory = self._settings.guest_dir(spec.mark.server)
        try:
            if spec.topology:  # no image is fetched for a guest without a place
                await self._connection.call(lambda handle: self._place(handle, spec))
            files = await make_files(spec, self._images, self._settings)
            domain_type = now.domain_type
            await self._connection.call(lambda handle: self._define(handle, spec, files, domain_type), server=server)
            state = await self._start(server)
            if now.domain_type == "kvm" and now.verdict != "proven":
                state = await self._try_kvm(server)
            return not_halted(state)
        except HostError:
            # A libvirt that went away may have the guest by now: its files stay until the next spawn or destroy.
            with contextlib.suppress(HypervisorDown):
                await self._connection.call(lambda handle: _remove(handle, server), server=server)
                await in_thread(lambda: remove_files(directory))
            raise

    async def cache_image(self, image: ImageGrant) -> None:
        await self._images.fetch(image)

    async def destroy(self, server: str) -> None:
        directory = self._settings.guest_dir(server)
        try:
            await self._connection.call(lambda handle: _remove(handle, server), server=server)
        except HypervisorDown:
            if await in_thread(directory.exists):
                raise
            return  # its files are made before its domain and removed after it
        self._seen.pop(server, None)  # no news to report
        await in_thread(lambda: remove_files(directory))

    async def power_on(self, server: str, mark: GuestMark) -> GuestState:
        await self._change(server, mark)
        return not_halted(await self._start(server))

    async def power_off(self, server: str, mark: GuestMark, timeout: float) -> GuestState:
        await self._change(server, mark)
        await self._shut_down(server, timeout)
        return await self._change(server, mark, lambda _handle, domain: domains.pull_plug(domain))

    async def reboot(self, server: str, mark: GuestMark, hard: bool, timeout: float) -> GuestState:
        await self._change(server, mark)
        if not hard:
            await self._shut_down(server, timeout)
        await self._change(server, mark, lambda _handle, domain: domains.pull_plug(domain))
        return not_halted(await self._start(server))

    async def pause(self, server: str, mark: GuestMark) -> GuestState:
        return not_halted(await self._change(server, mark, lambda _handle, domain: domains.pause(domain)))

    async def unpause(self, server: str, mark: GuestMark) -> GuestState:
        return not_halted(await self._change(server, mark, lambda _handle, domain: domains.unpause(domain)))

    async def suspend(self, server: str, mark: GuestMark) -> GuestState:
        timeout = self._settings.save_timeout
        return await self._change(server, mark, lambda _handle, domain: domains.save(domain), timeout)

    async def resume(self, server: str, mark: GuestMark) -> GuestState:
        await self._change(server, mark)
        await self._start(server, domains.restore, self._settings.save_timeout)
        return not_halted(await self._change(server, mark))  # what was saved holds the mark of who saved it

    async def diagnostics(self, server: str) -> Diagnostics:
        return await self._connection.call(
            lambda handle: read_diagnostics(handle, domains.ours(handle, server)[0], self._kvm.now.domain_type)
        )

    async def console_output(self, server: str, lines: int | None) -> str:
        log = self._settings.guest_dir(server) / CONSOLE_LOG
        await self._connection.call(lambda handle: domains.ours(handle, server))
        return await in_thread(lambda: console_tail(log, lines, self._settings.console_bytes))

    def _new_connection(self) -> Connection:
        settings = self._settings
        return Connection(
            settings.uri,
            lambda _server: self._stirred.set(),
            workers=settings.workers,
            timeout=settings.call_timeout,
            keepalive=settings.keepalive_seconds,
        )

    def _prepare(self) -> None:
        settings = self._settings
        try:
            self._images.prepare()
            # Guests' directories need no listing; QEMU, whoever it runs as, must get through to its own.
            (settings.state_dir / "guests").mkdir(mode=0o711, exist_ok=True)
        except OSError as error:
            raise HostError(f"state_dir {settings.state_dir} is not usable: {error}") from error
        if settings.disk_cache == "auto":
            cache: Literal["none", "writeback"] = "none" if has_direct_io(settings.state_dir) else "writeback"
            self._settings = evolve(settings, disk_cache=cache)
        self._host_ip = host_ip(settings)

    def _is_made(self, handle: Any, spec: GuestSpec) -> bool:
        """Whether this very operation has defined the guest before; else its name is clear. Blocking."""
        domain = domains.find(handle, spec.mark.server)
        if domain is None:
            return False
        label = domains.label_of(domain)
        if label is None:
            raise HostError(f"domain {spec.mark.server} bears no mark of ours and is left alone")
        if label.mark.operation != spec.mark.operation:
            domains.remove(domain)
            return False
        domains.set_mark(domain, label, spec.mark)
        return True

    def _place(self, handle: Any, spec: GuestSpec) -> Place:
        """Where its claim puts it. A device is the guest's once a domain with it is defined. Raises HostFull."""
        claim = spec.topology or TopologyClaim()
        return Place(
            claim.cells,
            numa_cells(handle.getCapabilities(), offered_processors(handle, self._sets)) if claim.cells else (),
            self._sets.shared or frozenset(),
            chosen(host_devices(handle), self._devices, claim.devices, domains.passed_through(handle))
            if claim.devices
            else (),
        )

    async def _try_kvm(self, server: str) -> GuestState:
        """Watches a guest until the trial is over, unless the hypervisor stops it before: while no guest has run with
        KVM on this host, one that was merely started says nothing, since boot loaders and kernels need more than the
        firmware that runs first."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.kvm_trial_seconds
        while True:
            state = await self.guest(server)
            if state.halted.startswith(STOPPED):
                await self._kvm.failed(state.halted.splitlines()[0])
                return state
            if state.power_state != PowerState.RUNNING:
                return state  # an I/O error or its own doing: that says nothing of KVM
            if state.addresses or loop.time() >= until:
                await self._kvm.proven()
                return state
            await asyncio.sleep(_TRIAL_POLL)

    def _define(self, handle: Any, spec: GuestSpec, files: GuestFiles, domain_type: DomainType) -> None:
        """Blocking. Once defined, the domain bears its mark and all its files are there, so it can be finished."""
        with self._choosing if spec.topology and spec.topology.devices else contextlib.nullcontext():
            place = self._place(handle, spec)
            handle.defineXML(domain_xml(spec, files, domain_type, self._settings, place))

    async def _start(
        self,
        server: str,
        start: Callable[[Any, Callable[[], None]], None] = domains.start,
        timeout: float | None = None,
    ) -> GuestState:
        """Has a defined guest run, once that is permitted and unless it runs already."""

        def work(handle: Any) -> GuestState:
            domain = domains.ours(handle, server)[0]
            ensure_network(handle, self._settings)
            start(domain, check)
            return self._state(handle, domain)

        while True:
            check = await permission_to_start()
            with contextlib.suppress(GrantExpired):
                return await self._connection.call(work, timeout, server)

    def _state(self, handle: Any, domain: Any) -> GuestState:
        return domains.see(domain, leases(handle, self._settings), self._host_ip).state

    async def _change(
        self,
        server: str,
        mark: GuestMark,
        act: Callable[[Any, Any], None] = lambda _handle, _domain: None,
        timeout: float | None = None,
    ) -> GuestState:
        """Mark first: whoever finds the guest half changed then knows by which command."""

        def work(handle: Any) -> GuestState:
            domain, label = domains.ours(handle, server)
            if label.mark != mark:
                domains.set_mark(domain, label, mark)
            act(handle, domain)
            return self._state(handle, domain)

        return await self._connection.call(work, timeout, server)

    async def _shut_down(self, server: str, timeout: float) -> None:
        """Press the power button until the guest is off or `timeout` seconds are over."""
        if timeout <= 0:
            return

        def press(handle: Any) -> None:
            domains.press_power_button(domains.ours(handle, server)[0])

        def is_off(handle: Any) -> bool:
            return not domains.ours(handle, server)[0].isActive()

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                pressed = -_BUTTON_AGAIN
                loop = asyncio.get_running_loop()
                while not await self._connection.call(is_off):
                    if loop.time() - pressed >= _BUTTON_AGAIN:
                        pressed = loop.time()
                        await self._connection.call(press)
                    await asyncio.sleep(_STOP_POLL)

    async def _look(self) -> list[SeenGuest]:
        return await self._connection.call(
            lambda handle: domains.see_all(handle, leases(handle, self._settings), self._host_ip)
        )

    async def _watch(self, on_change: OnChange) -> None:
        """Compare all guests with what was last seen whenever something stirs, and report what differs.

        libvirt tells of lives but not of leases: while a running guest lacks an address, look for one, less and less
        often since some guests never ask for any.
        """
        pause = self._settings.address_poll_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()
            stirred = self._stirred.is_set()
            self._stirred.clear()
            try:
                found = await self._look()
            except HostError:
                # Down: the reconnection stirs us. Anything else is looked at again with the next sweep.
                pause = _SWEEP
                continue
            now = {seen.state.server: seen.state for seen in found}
            changed = changes(self._seen, now)
            self._seen = now
            for state in changed:
                on_change(state)
            if not any(seen.awaits_address for seen in found):
                pause = _SWEEP
            elif stirred or changed:
                pause = self._settings.address_poll_seconds
            else:
                pause = min(pause * 1.1, _SWEEP)  # news is then late by a tenth of the wait


def _remove(handle: Any, server: str) -> None:
    with contextlib.suppress(GuestNotFound):
        domains.remove(domains.ours(handle, server)[0])
