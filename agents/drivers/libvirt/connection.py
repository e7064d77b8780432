"""The connection to libvirt: it comes back by itself, and calls on it wait in threads.

libvirt's calls block, and a dead libvirtd may make them block for ever. Each runs in a thread; keepalive breaks a
connection whose libvirtd is silent, which ends the calls that wait on it; a call made meanwhile raises HypervisorDown
at once. libvirt's events arrive on one thread of the process, which runs libvirt's own poll loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

import libvirt
import structlog

from agents.drivers.libvirt.lines import Lines
from agents.drivers.libvirt.link import Handle, Link
from agents.drivers.libvirt.waiting import Hung, in_daemon_thread, kept_running, settled
from schemas.errors import HypervisorDown

T = TypeVar("T")
log = structlog.get_logger()

_RETRY: Final = 0.25
_RETRY_MAX: Final = 2.0
_ATTEMPT: Final = 10.0
_LOOK: Final = 5.0
_CLOSE: Final = 5.0


class Connection:
    """`on_event` is called on the event loop with a domain's UUID when its life took a turn; with None whenever the
    connection (re)appeared and anything may have changed."""

    def __init__(
        self,
        uri: str,
        on_event: Callable[[str | None], None],
        workers: int = 8,
        timeout: float = 60.0,
        keepalive: int = 2,
    ) -> None:
        self._uri = uri
        self._on_event = on_event
        self._timeout = timeout
        self._keepalive = keepalive
        self._lines = Lines(uri, keepalive)
        self._room = asyncio.Semaphore(workers)
        self._link: Link | None = None
        """for events alone; calls have their lines"""
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._hung = Hung()
        self._why = "not connected yet"
        self._keeper: asyncio.Task[None] | None = None

    @property
    def down(self) -> str:
        """Why libvirt does not answer; empty: it does."""
        return "" if self._link is not None else self._down().message

    async def open(self) -> None:
        """Connect and stay connected. Raises HypervisorDown when libvirt does not answer within the timeout."""
        _run_events()
        self._keeper = asyncio.create_task(kept_running(self._keep, "libvirt-connection"), name="libvirt-connection")
        try:
            async with asyncio.timeout(self._timeout):
                await self._up.wait()
        except TimeoutError:
            raise self._down() from None
        finally:
            if not self._up.is_set():
                await self.close()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        self._link = None

    async def call(self, work: Callable[[Handle], T], timeout: float | None = None, server: str = "") -> T:
        """Run `work(handle)` in a thread, for `timeout` seconds at most where the usual ones will not do; libvirt's
        errors come out as ours.

        When cancelled it waits for a call that has begun, so that what it does is known. A call that is given up may
        still take effect: the next one about the same `server` is refused until it has ended.
        """
        timeout = timeout or self._timeout
        if server and not await self._hung.ended(server, timeout):
            raise HypervisorDown(f"libvirt at {self._uri} still hangs over an earlier call on {server}")
        try:
            async with asyncio.timeout(self._timeout):
                await self._room.acquire()
        except TimeoutError:
            raise HypervisorDown(f"libvirt at {self._uri} is busy with too many calls") from None
        try:
            if self._link is None:
                raise self._down()
            running = in_daemon_thread(lambda: self._lines.run(work))
            try:
                return await settled(running, timeout)
            finally:
                if server and not running.done():
                    self._hung.note(server, running)
        except TimeoutError:
            raise HypervisorDown(f"libvirt at {self._uri} took longer than {timeout:g} s") from None
        finally:
            self._room.release()

    def _down(self) -> HypervisorDown:
        return HypervisorDown(f"libvirt at {self._uri} does not answer: {self._why}")

    async def _keep(self) -> None:
        """Hold a connection for as long as this task lives."""
        pause, patience = _RETRY, _ATTEMPT
        loop = asyncio.get_running_loop()
        while True:
            self._lost.clear()
            attempt = in_daemon_thread(lambda: self._connect(loop))
            try:
                async with asyncio.timeout(patience):
                    link = await asyncio.wrap_future(attempt)
            except asyncio.CancelledError:
                attempt.add_done_callback(_discard)
                raise
            except TimeoutError:
                # Its thread stays for as long as it hangs: with ever more patience a long outage leaves but a few.
                attempt.add_done_callback(_discard)
                self._why = f"no answer within {patience:g} s"
                patience *= 2
                continue
            except libvirt.libvirtError as error:
                self._why = str(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _RETRY_MAX)
                continue
            pause, patience = _RETRY, _ATTEMPT
            self._link = link
            self._up.set()
            self._on_event(None)
            try:
                while link.alive() and not self._lost.is_set():
                    # The callback says so at once; looking too covers what was lost before it was registered.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK):
                            await self._lost.wait()
            finally:
                self._link = None
                await _in_time(in_daemon_thread(self._lines.drop))
                await _in_time(in_daemon_thread(link.close))
            log.warning("libvirt connection lost", uri=self._uri, reason=self._why)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Link:
        """On a thread of its own."""
        link = Link(self._uri, self._keepalive)

        def on_loop(call: Callable[..., None], *args: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed before this connection
                loop.call_soon_threadsafe(call, *args)

        try:
            link.subscribe(lambda why: on_loop(self._lose, link, why), lambda server: on_loop(self._on_event, server))
        except libvirt.libvirtError:
            link.close()
            raise
        return link

    def _lose(self, link: Link, why: str) -> None:
        if self._link is link:
            self._link = None
            self._why = why
            self._lost.set()


def _discard(attempt: Future[Link]) -> None:
    """Close what a connection attempt that nobody waits for any more brought."""
    if not attempt.cancelled() and attempt.exception() is None:
        in_daemon_thread(attempt.result().close)


async def _in_time(future: Future[None]) -> None:
    """Wait a little; what takes longer goes on without us."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE):
            await asyncio.shield(asyncio.wrap_future(future))


_starting = threading.Lock()
_events: threading.Thread | None = None


def _run_events() -> None:
    """Run libvirt's poll loop on one thread for the rest of the process. (Its asyncio twin hangs at shutdown.)"""
    global _events
    with _starting:
        if _events is not None:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; stderr adds nothing

        def run() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        libvirt.virEventAddTimeout(1000, lambda _timer, _opaque: None, None)  # the loop must have something to wait for
        _events = threading.Thread(target=run, daemon=True, name="libvirt-events")
        _events.start()
