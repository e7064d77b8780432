"""Runs `kilonova ...` with points at which it can be told to die: `python -m tests.chaos.crashing DIR ROLE -- WORDS`.

A point is `before` or `after` something: the commit of a transaction, by its purpose (`before place`), an answer that
was asked for (`before command`, `after report`, ...), a call of the driver (`after spawn`). While DIR/ROLE holds a file
of a point's name the process that comes there acts as the file says, once: the file is renamed first, so a restarted
process lives on. `kill` is SIGKILL to itself, `stop` SIGSTOP; `fail`, in front of a driver's call, is a HostError.
"""

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bus.client import Bus
from kilonova.cli import main
from kv.store import Store
from kv.txn import Txn
from schemas.errors import HostError
from schemas.messages import Command, FromAgent, Select

FIRED = ".fired"
DRIVER_CALLS = ("spawn", "destroy", "power_on", "power_off", "reboot")


def point_file(name: str) -> str:
    return name.replace(" ", "-")


class Points:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def reach(self, name: str) -> None:
        path = self._directory / point_file(name)
        try:
            order = path.read_text()
            path.rename(path.with_name(path.name + FIRED))
        except FileNotFoundError:
            return
        if order == "fail":
            raise HostError(f"told to fail {name}")
        os.kill(os.getpid(), signal.SIGSTOP if order == "stop" else signal.SIGKILL)


def surround(points: Points, cls: type, method: str, name_of: Callable[..., str | None]) -> None:
    """Puts points around a coroutine method; `name_of` its arguments is what is done, None: no point here."""
    original: Callable[..., Awaitable[Any]] = getattr(cls, method)

    @functools.wraps(original)
    async def surrounded(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = name_of(*args, **kwargs)
        if name is None:
            return await original(self, *args, **kwargs)
        points.reach(f"before {name}")
        answer = await original(self, *args, **kwargs)
        points.reach(f"after {name}")
        return answer

    setattr(cls, method, surrounded)


def purpose_of(txn: Txn) -> str:
    return txn.purpose


def asked(_: str, message: object, *__: Any, **___: Any) -> str | None:
    match message:
        case Command():
            return "command"
        case Select():
            return "select"
        case FromAgent(report=told) if told is not None:
            return "report"
    return None


def install(points: Points, role: str) -> None:
    surround(points, Store, "commit", purpose_of)
    surround(points, Bus, "request", asked)
    if role == "agent":
        from agents.drivers.simulated import SimulatedDriver

        for call in DRIVER_CALLS:
            surround(points, SimulatedDriver, call, lambda *_, call=call, **__: call)


if __name__ == "__main__":
    directory, role, _, *words = sys.argv[1:]
    install(Points(Path(directory) / role), role)
    sys.argv = ["kilonova", *words]
    main()
