"""Waiting for threads and tools so that cancellation leaves nothing half done."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from schemas.errors import HostError, HostFull

T = TypeVar("T")


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
