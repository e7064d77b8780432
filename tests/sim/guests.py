"""Which guests run where, seen at each change of each hypervisor."""

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

from agents.drivers.simulated import SimulatedHypervisor
from agents.drivers.simulated_machine import SimulatedGuest
from schemas.guest import GuestState, PowerState
from tests.sim.loop import PROCESS, Process
from tests.sim.site import Host

Where = dict[str, Process | None]
"""host -> the process of the agent that started the guest"""

ON: Final = frozenset({PowerState.RUNNING, PowerState.PAUSED})


class WatchedHypervisor(SimulatedHypervisor):
    """Tells of each guest when it was changed or removed."""

    def __init__(self, tell: Callable[[str, bool], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, guest: SimulatedGuest) -> GuestState:
        state = super().put(guest)
        self._tell(state.server, state.power_state in ON)
        return state

    def remove(self, server: str) -> None:
        super().remove(server)
        self._tell(server, False)


@define(eq=False)
class Guests:
    """`twice(uuid, where)` is called at the instant at which a server runs on a second host; `where` are its hosts with
    the agents that started it there."""

    twice: Callable[[str, Where], None]
    running: dict[str, Where] = field(factory=dict)
    """by uuid"""

    def watch(self, host: Host) -> None:
        """From now on, with an empty hypervisor."""

        def tell(uuid: str, on: bool) -> None:
            where = self.running.setdefault(uuid, {})
            if on:
                where.setdefault(host.name, PROCESS.get())
                if len(where) > 1:
                    self.twice(uuid, where)
            else:
                where.pop(host.name, None)

        host.hypervisor = WatchedHypervisor(tell)


def power_of(host: Host, uuid: str) -> Any:
    """The guest's power state; None: there is none."""
    guest = host.hypervisor.guests.get(uuid)
    return guest.state.power_state if guest else None
