"""How long what could go to etcd now waits for company."""

from typing import Final

LINGER_SECONDS: Final = 0.004
MEMORY_SECONDS: Final = 0.25


class Pace:
    """Nothing waits for whoever acts alone, one step after the other. Once two met, the next ones wait a little: under
    load a call for several costs etcd and us hardly more than a call for one."""

    def __init__(self) -> None:
        self._busy_until = 0.0

    def linger(self, now: float, met: bool) -> float:
        """Seconds to wait, asked at each arrival at `now` of a monotonic clock; `met`: another one waits or is under
        way."""
        if met:
            self._busy_until = now + MEMORY_SECONDS
        return LINGER_SECONDS if now < self._busy_until else 0.0
