"""The machine behind simulated drivers: guests in memory, and in a file where they are to outlive the process."""

import os
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from agents.drivers.base import OnChange
from schemas.codec import dumps, loads
from schemas.guest import GuestState, PowerState
from schemas.topology import TopologyClaim

NO_TOPOLOGY: Final = TopologyClaim()


@define
class SimulatedGuest:
    state: GuestState
    memory_mb: int
    disk_gb: int
    nics: tuple[tuple[str, str], ...] = ()
    """network and MAC of each interface"""
    console: list[str] = field(factory=list)
    boots: int = 0
    saved: bool = False
    """its memory lies on disk"""
    topology: TopologyClaim = NO_TOPOLOGY


@frozen
class _Saved:
    guests: tuple[SimulatedGuest, ...]


class SimulatedHypervisor:
    """The machine. `down` makes every call raise HypervisorDown; `set_power` and `vanish` are what happens behind the
    agent's back, and so is `halt`. Guests that are started while `halts` has a reason are halted by it at once.

    With a `state_file` every change is written there at once, so that the guests survive a kill of the process.
    """

    def __init__(self, state_file: Path | None = None) -> None:
        self.guests: dict[str, SimulatedGuest] = {}
        self.down = False
        self.unusable_images: set[str] = set()
        """digests whose bytes cannot be had"""
        self.cached_images: set[str] = set()
        """digests of what was fetched without a guest"""
        self.boot_id = "1"
        self.halts = ""
        self.trouble = ""
        """what the host's facts say is wrong with it"""
        self.takes_guests = True
        self._state_file = state_file
        self._part = f"{state_file}.part"
        self._watchers: list[OnChange] = []
        if state_file is not None and state_file.exists():
            saved = loads(_Saved, state_file.read_bytes())
            self.guests = {guest.state.server: guest for guest in saved.guests}

    def watch(self, on_change: OnChange) -> None:
        self._watchers.append(on_change)

    def unwatch(self, on_change: OnChange) -> None:
        if on_change in self._watchers:
            self._watchers.remove(on_change)

    def put(self, guest: SimulatedGuest) -> GuestState:
        """Add or change a guest; watchers hear of it when its power state or addresses differ."""
        old = self.guests.get(guest.state.server)
        self.guests[guest.state.server] = guest
        self._save()
        new = guest.state
        if old is None or _visible(old.state) != _visible(new):
            for watcher in tuple(self._watchers):
                watcher(new)
        return new

    def remove(self, server: str) -> None:
        if self.guests.pop(server, None) is not None:
            self._save()

    def vanish(self, server: str) -> None:
        """As when somebody else undefines a domain."""
        gone = self.guests[server].state
        self.remove(server)
        for watcher in tuple(self._watchers):
            watcher(evolve(gone, power_state=PowerState.NOSTATE))

    def set_power(self, server: str, power_state: int) -> None:
        """As when a guest shuts down by itself or crashes, or somebody resumes one that was halted."""
        guest = self.guests[server]
        self.put(evolve(guest, state=evolve(guest.state, power_state=power_state, halted="")))

    def halt(self, server: str, reason: str) -> None:
        """As when QEMU stops a guest by an internal error or an I/O error: it stays, paused, and cannot go on."""
        guest = self.guests[server]
        self.put(evolve(guest, state=evolve(guest.state, power_state=PowerState.PAUSED, halted=reason)))

    def reboot(self) -> None:
        """The machine goes down and comes up: no guest runs."""
        self.boot_id = str(int(self.boot_id) + 1)
        for server in tuple(self.guests):
            self.set_power(server, PowerState.SHUTDOWN)

    def _save(self) -> None:
        # A few kB into the page cache: dearer to hand to a thread than to write. No fsync, as a kill loses nothing
        # that was written and a simulated host does not outlive the loss of power.
        if self._state_file is not None:
            with open(self._part, "wb", buffering=0) as part:
                part.write(dumps(_Saved(tuple(self.guests.values()))))
            os.replace(self._part, self._state_file)


def _visible(state: GuestState) -> tuple[object, ...]:
    return state.power_state, state.addresses, state.halted
