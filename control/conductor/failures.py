"""How long an operation waits after a failure, and when the same failure has come so often that nothing else is to be
expected. Pure.
"""

from typing import Final

from attrs import define

from schemas.errors import CompareFailed, KilonovaError, StoreUnavailable

SAME: Final = 8
"""failures of one kind in a row, from which on the operation is failing for good"""
LONGEST_SECONDS: Final = 30.0
"""between two attempts of an operation that is failing for good"""


@define
class Failures:
    """In a row, of one operation. Another owner's write, or another failure, starts the count again; that etcd does not
    answer is no failure of the operation's, and ends when etcd answers."""

    pause: float = 0.0
    same: int = 0
    last: str = ""
    """what failed"""

    def clear(self) -> None:
        self.pause, self.same, self.last = 0.0, 0, ""

    @property
    def for_good(self) -> bool:
        return self.same >= SAME

    def note(self, error: Exception) -> float:
        """Seconds to wait before the next attempt."""
        kind = f"{type(error).__name__}: {error}"
        if isinstance(error, StoreUnavailable):
            self.same = 0
        else:
            self.same = self.same + 1 if kind == self.last else 1
        self.last = kind
        first, longest = _PAUSES[_kind_of(error)]
        self.pause = min(max(self.pause * 2, first), LONGEST_SECONDS if self.for_good else longest)
        return self.pause


def _kind_of(error: Exception) -> type[Exception]:
    return next(kind for kind in _PAUSES if isinstance(error, kind))


_PAUSES: Final[dict[type[Exception], tuple[float, float]]] = {
    CompareFailed: (0.005, 1.0),
    KilonovaError: (0.1, 2.0),
    Exception: (1.0, 10.0),
}
"""by what failed, the first match counts: seconds of the first pause and of the longest"""
