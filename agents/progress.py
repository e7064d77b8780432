"""What a long job says while it goes on: its deadline starts anew, and who waits for it need not give up."""

from collections.abc import Callable
from contextvars import ContextVar

_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("progress", default=None)


def listen_to_progress(listener: Callable[[str], None]) -> None:
    """For what runs in this task from now on."""
    _LISTENER.set(listener)


def tell_progress(note: str) -> None:
    """Called by a driver, as often as it likes, whenever it has come further: `image at 40 %`."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(note)
