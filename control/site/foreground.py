"""What runs in the foreground, and what ends with it.

A recipe's process ends with `just` (`setpriv --pdeathsig` in the justfile, since a killed `just` can pass nothing on),
and what that process started ends with it: by its own `finally` where it is told to end, by the kernel where it is
killed.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
"""SIGINT is a KeyboardInterrupt already"""


def unwind_on_signals() -> None:
    """From now on the first signal to end is a SystemExit, so that what was started is stopped on the way out. SIGHUP
    stays ignored where it was, as under nohup. In the main thread only."""

    def unwind(number: int, _: FrameType | None) -> None:
        ignore_signals()
        sys.exit(128 + number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, unwind)


def ignore_signals() -> None:
    """While what was started is being stopped. Whoever ends `just` sends two: `just` passes its own on, and the kernel
    sends another when `just` is gone."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def tied(command: Sequence[str | Path], number: signal.Signals = signal.SIGKILL) -> list[str | Path]:
    """The command as one that gets this signal when the thread that started it ends, however it does."""
    return ["setpriv", "--pdeathsig", number.name.removeprefix("SIG"), "--", *command]
