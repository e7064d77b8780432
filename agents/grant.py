"""The time for which the cell lets this host start guests, on the agent's own monotonic clock.

The answer to a heartbeat grants the host so many seconds, counted from when the heartbeat was *sent*. The conductor
renews the host's lease before it answers and grants less than the lease has left, so a lease that has expired implies a
grant that has expired earlier. A build may then be given to another host once the lease has expired and a margin has
passed: this host starts no guest any more, and has stopped those whose spawn was never acknowledged.

What this rests on, and what it does not cover:

- The clocks of the agent, of the conductor and of etcd run at the same rate (an offset does not matter). A machine that
  is suspended stops its guests together with this clock.
- An agent process that is frozen (SIGSTOP) or killed between the start of a guest's processors and the
  acknowledgement of its spawn, and stays so for longer than the lease, leaves the guest running beside one that is
  built elsewhere: nothing else on the host ends it. The window opens with the last call to the hypervisor, since the
  grant is checked right before it (after QEMU has been started, with its processors stopped), and closes with the
  acknowledgement, usually milliseconds later; when the cell cannot be reached, with the end of the grant. The agent's
  next heartbeat, or its next session, closes it for good: it registers, and stops every guest that is not its own any
  more before it is granted anything. An agent that was frozen before the check, however long, finds its grant expired
  and starts nothing.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from attrs import define

_NEVER: Final = float("-inf")


class GrantExpired(Exception):
    """The grant ran out between asking for it and starting the guest: wait for the next one."""


class Grant:
    """Valid until `until`, in seconds of the event loop's clock."""

    def __init__(self) -> None:
        self.until = _NEVER
        self._extended = asyncio.Event()

    @property
    def valid(self) -> bool:
        return asyncio.get_running_loop().time() < self.until

    def extend(self, sent: float, seconds: float) -> None:
        """By the answer to what was sent at this loop time. Answers that come late or twice shorten nothing."""
        if seconds > 0 and sent + seconds > self.until:
            self.until = sent + seconds
            self._extended.set()

    async def wait(self) -> None:
        """Returns while it is valid; at once when it is."""
        while not self.valid:
            self._extended.clear()
            await self._extended.wait()

    async def expired(self) -> None:
        """Returns when it is not valid any more, or not yet."""
        loop = asyncio.get_running_loop()
        while self.valid:  # noqa: ASYNC110  # time alone brings it about
            await asyncio.sleep(self.until - loop.time())


@define(eq=False)
class Permit:
    """A job's way to its host's grant. `on_start` is called before the hypervisor is asked to start the guest."""

    grant: Grant
    on_start: Callable[[], None] = lambda: None


_PERMIT: ContextVar[Permit | None] = ContextVar("permit", default=None)


def use_permit(permit: Permit) -> None:
    """For what runs in this task from now on."""
    _PERMIT.set(permit)


async def permission_to_start() -> Callable[[], None]:
    """Waits for a valid grant. What it returns is to be called, from any thread, right before the hypervisor starts the
    guest's processors: it raises GrantExpired when the grant has run out meanwhile.

    A driver without an agent, as in its contract tests, is always permitted.
    """
    permit = _PERMIT.get()
    if permit is None:
        return lambda: None
    await permit.grant.wait()
    permit.on_start()
    grant, clock = permit.grant, asyncio.get_running_loop().time

    def check() -> None:
        if clock() >= grant.until:
            raise GrantExpired

    return check
