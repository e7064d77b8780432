"""An event loop whose time jumps to the next timer, and processes on it that can be killed or paused at any await.

Everything that a process runs, tasks and callbacks alike, is scheduled in a context that names it. What belongs to a
dead process is dropped before it runs, as SIGKILL does: no `finally`, no `except`. What belongs to a paused one waits.
"""

import asyncio
import gc
import selectors
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

from attrs import define, field


@define(eq=False)
class Process:
    name: str
    dead: bool = False
    paused: bool = False
    skew: float = 0.0
    """seconds by which its wall clock is ahead; its monotonic clock is right"""
    resumed: float = float("-inf")
    """loop time at which its last pause ended"""
    backlog: list[tuple[Callable[..., Any], tuple[Any, ...], Context]] = field(factory=list)


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class _JumpingSelector(selectors.SelectSelector):
    """Never sleeps: what would be slept is added to the clock."""

    def __init__(self, clock: "Clock") -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing can happen any more: everybody waits for everybody")
        self._clock.seconds += max(0.0, timeout)
        return []


@define
class Clock:
    seconds: float = 0.0


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        self._tasks: list[asyncio.Task[Any]] = []
        """all there ever were: a dead process's coroutine must not be closed, which would run its `finally`"""
        super().__init__(_JumpingSelector(self.clock))
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self.clock.seconds

    def _make_task(self, loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.append(task)
        return task

    def abandon(self) -> None:
        """The end of the world: what never ended goes without a word."""
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.close()
        self._tasks.clear()
        gc.collect()

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        context = context or copy_context()
        process = context.get(PROCESS)
        if self.is_closed():  # a coroutine that is collected after the end wants to tidy up
            return asyncio.Handle(callback, args, self, context)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(self._guarded, process, callback, args, context, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        context = context or copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, self._guarded, process, callback, args, context, context=context)

    def _guarded(self, process: Process, callback: Any, args: tuple[Any, ...], context: Context) -> None:
        if process.dead:
            return
        if process.paused:
            process.backlog.append((callback, args, context))
            return
        callback(*args)

    def resume(self, process: Process) -> None:
        """Goes on with all that came up in the pause, in its order."""
        process.paused, process.resumed = False, self.time()
        backlog, process.backlog = process.backlog, []
        for callback, args, context in backlog:
            self.call_soon(callback, *args, context=context)

    def spawn(self, process: Process, coroutine: Any) -> asyncio.Task[Any]:
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(coroutine, name=process.name, context=context)


def outside(function: Callable[..., Any], *args: Any) -> Any:
    """Calls it as nobody's: timers that it sets outlive the process that happened to call."""
    return Context().run(function, *args)
