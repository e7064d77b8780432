"""Waiting for threads and tools so that cancellation leaves nothing half done."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import structlog

from schemas.errors import HostError, HostFull

T = TypeVar("T")
log = structlog.get_logger()

AGAIN_SECONDS: Final = 1.0
"""before what ended by a fault begins again"""


async def settled(future: Future[T], timeout: float) -> T:
    """The result of a thread's work. A thread cannot be cancelled, so our own cancellation waits until it is done: the
    one who cancelled may then act on the same server without meeting a straggler. Raises TimeoutError.
    """
    waiter = asyncio.wrap_future(future)
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        if not future.cancel():
            await asyncio.wait([waiter], timeout=timeout)
        raise
    finally:
        if waiter.done() and not waiter.cancelled():
            waiter.exception()  # seen: asyncio need not warn of it


async def in_thread(work: Callable[[], T]) -> T:
    """Short work on files, off the loop. As with `settled`, cancellation waits until the thread is done."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def kept_running(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Until cancelled. A fault of `work`, which nobody awaits, is logged, and it begins again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("ended by a fault, begun again", task=name)
        await asyncio.sleep(AGAIN_SECONDS)


class Hung:
    """Calls that were given up though their threads go on, by the server that they are about: what one of them does
    late must not come after what was reported since."""

    def __init__(self) -> None:
        self._calls: dict[str, set[Future[Any]]] = {}

    def note(self, server: str, call: Future[Any]) -> None:
        self._calls.setdefault(server, set()).add(call)

    async def ended(self, server: str, timeout: float) -> bool:
        """Whether none of them goes on, waiting for so many seconds at most."""
        calls = self._calls.pop(server, set())
        left = {call for call in calls if not call.done()}
        if left:
            await asyncio.wait([asyncio.wrap_future(call) for call in left], timeout=timeout)
            left = {call for call in left if not call.done()}
        if left:
            self._calls.setdefault(server, set()).update(left)
        return not left


def in_daemon_thread(work: Callable[[], T]) -> Future[T]:
    """For work that may never return, which a pool's thread would make the whole process wait for at its exit."""
    future: Future[T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="libvirt-call").start()
    return future


async def run_tool(command: Sequence[str], timeout: float) -> None:
    """Run a program to its end. Killed when cancelled or late. Raises HostFull or HostError with what it said."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise HostError(f"{command[0]} is not installed on this host") from None
    try:
        async with asyncio.timeout(timeout):
            _, complaint = await process.communicate()
    except TimeoutError:
        raise HostError(f"{command[0]} took longer than {timeout:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        text = complaint.decode(errors="replace").strip()
        error = HostFull if "No space left on device" in text else HostError
        raise error(f"{command[0]} failed: {text}")
