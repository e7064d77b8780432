"""What the agent asks of a hypervisor. Every driver passes tests/contract/test_drivers.py."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from schemas.errors import HostError
from schemas.guest import Diagnostics, GuestMark, GuestSpec, GuestState, HostFacts, ImageGrant

OnChange = Callable[[GuestState], None]
"""Called on the event loop when a guest's power state or addresses changed, or it was halted, for whatever reason. One
that is gone for another reason than `destroy` is reported as NOSTATE."""


class Driver(ABC):
    """One hypervisor. The agent runs at most one call at a time per server; different servers run in parallel.

    Whatever starts a guest (`spawn`, `power_on`, `reboot`, `resume`) asks `permission_to_start` as late as it can.

    Every change is idempotent: repeated after a crash at any point it ends in the same state. A cancelled call leaves
    only what the next `spawn` or `destroy` of that server cleans up. All calls raise HypervisorDown when the
    hypervisor does not answer; those that name a server raise GuestNotFound when there is no such guest, except
    `destroy`. What starts a guest, or lets it go on, raises HostError with the hypervisor's own words when the
    hypervisor halts the guest meanwhile; `spawn` leaves nothing of it then.
    """

    @property
    @abstractmethod
    def down(self) -> str:
        """Why the hypervisor does not answer; empty: it does, or was not asked yet."""

    @abstractmethod
    async def start(self, on_change: OnChange) -> None:
        """Connect; from now on report changes. Returns when the hypervisor answered once."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect; guests go on running."""

    @abstractmethod
    async def facts(self) -> HostFacts: ...

    @abstractmethod
    async def guests(self) -> Sequence[GuestState]:
        """Every domain of the host, ours or not, in one pass."""

    @abstractmethod
    async def guest(self, server: str) -> GuestState:
        """How one of our guests is right now."""

    @abstractmethod
    async def spawn(self, spec: GuestSpec) -> GuestState:
        """Make and start the guest; finish or replace what an earlier attempt left. Raises HostFull, ImageUnusable."""

    @abstractmethod
    async def cache_image(self, image: ImageGrant) -> None:
        """Have the image at hand, as `spawn` would fetch it. Raises HostFull, ImageUnusable."""

    @abstractmethod
    async def destroy(self, server: str) -> None:
        """Stop and remove the guest, its disks and its logs; nothing to do is fine, also when the hypervisor does not
        answer: what is on the host's disk shows that it was never asked to start the guest."""

    @abstractmethod
    async def power_on(self, server: str, mark: GuestMark) -> GuestState: ...

    @abstractmethod
    async def power_off(self, server: str, mark: GuestMark, timeout: float) -> GuestState:
        """Ask the guest to shut down for `timeout` seconds, then pull the plug. 0 pulls at once."""

    @abstractmethod
    async def reboot(self, server: str, mark: GuestMark, hard: bool, timeout: float) -> GuestState:
        """Soft: shut down within `timeout` seconds and start, else hard. Hard: power cycle, from any power state."""

    @abstractmethod
    async def pause(self, server: str, mark: GuestMark) -> GuestState:
        """Its CPUs stand still, its memory stays. Raises HostError unless it runs or is paused."""

    @abstractmethod
    async def unpause(self, server: str, mark: GuestMark) -> GuestState:
        """Raises HostError unless it runs or is paused."""

    @abstractmethod
    async def suspend(self, server: str, mark: GuestMark) -> GuestState:
        """Write its memory to disk and stop it: its power state is SHUTDOWN then. Raises HostError when it is off
        without having been suspended, HostFull when its memory has no room."""

    @abstractmethod
    async def resume(self, server: str, mark: GuestMark) -> GuestState:
        """Run it again from the memory that `suspend` wrote; where there is none, it boots."""

    @abstractmethod
    async def diagnostics(self, server: str) -> Diagnostics:
        """Raises WrongState unless the guest runs or is paused."""

    @abstractmethod
    async def console_output(self, server: str, lines: int | None) -> str:
        """The last `lines` lines of the serial console's log; all that is kept for None."""


def not_halted(state: GuestState) -> GuestState:
    """Raises HostError when the hypervisor has halted what was to run."""
    if state.halted:
        raise HostError(state.halted)
    return state
