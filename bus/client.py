"""A connection to NATS: hints and requests, endless reconnect, errors of our tree."""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.metrics import REQUESTS
from schemas.codec import dumps, loads
from schemas.context import REQUEST_ID
from schemas.errors import BusUnavailable, NobodyListens, from_wire
from schemas.settings import BusSettings

R = TypeVar("R")

log = structlog.get_logger()

DEADLINE: Final = "Kn-Deadline"
"""Unix seconds after which nobody waits for the answer. A message that NATS delivers late is dropped by it."""
REQUEST: Final = "Kn-Request-Id"
ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
ERROR_CLASS: Final = "Kn-Error"

_HINT_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 2.0


class Bus:
    """One connection. Make it with `connect`; end it with `drain`."""

    def __init__(self, client: Client, settings: BusSettings, name: str) -> None:
        self.client = client
        self.name = name
        self._settings = settings
        self._leaving = False

    @classmethod
    async def connect(cls, settings: BusSettings, name: str, inbox: str = "_INBOX") -> "Bus":
        """Waits for a server for as long as it takes; `name` shows in NATS's connection list."""
        client = Client()
        bus = cls(client, settings, name)
        options: dict[str, Any] = {}
        if settings.nkey_seed_file:
            options["nkeys_seed"] = settings.nkey_seed_file
        if settings.tls.ca:
            context = ssl.create_default_context(cafile=settings.tls.ca)
            if settings.tls.cert:
                context.load_cert_chain(settings.tls.cert, settings.tls.key)
            options["tls"] = context
        await client.connect(
            settings.url,
            name=name,
            inbox_prefix=inbox,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2 + random.random() * 0.3,
            connect_timeout=3,
            ping_interval=10,
            max_outstanding_pings=2,
            allow_reconnect=True,
            error_cb=bus._on_error,
            disconnected_cb=bus._on_disconnect,
            reconnected_cb=bus._on_reconnect,
            **options,
        )
        return bus

    def now(self) -> float:
        """Unix seconds: what deadlines are told by."""
        return time.time()

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    async def request(self, subject: str, message: object, answer: type[R], timeout: float) -> R:
        """Raises NobodyListens at once when no function serves the subject, BusUnavailable after `timeout` seconds,
        or the error that the function raised."""
        headers = _headers(timeout)
        try:
            with REQUESTS.labels(type(message).__name__).time():
                reply = await self.client.request(subject, dumps(message), timeout=timeout, headers=headers)
        except nats.errors.NoRespondersError as error:
            raise NobodyListens(f"no process serves {subject}") from error
        except (nats.errors.TimeoutError, TimeoutError) as error:
            raise BusUnavailable(f"no answer on {subject} within {timeout:g} s") from error
        except (nats.errors.Error, OSError) as error:
            raise BusUnavailable(f"NATS at {self._settings.url}: {error!r}") from error
        if reply.headers and ERROR in reply.headers:
            raise from_wire(reply.headers.get(ERROR_CLASS, ""), reply.headers[ERROR])
        return loads(answer, reply.data)

    async def hint(self, subject: str, message: object) -> None:
        """Saves its receiver milliseconds, no more: never raises, may be lost."""
        if not self.client.is_connected:
            return
        try:
            await self.client.publish(subject, dumps(message), headers=_headers(_HINT_SECONDS))
        except (nats.errors.Error, OSError) as error:
            log.info("hint not sent", subject=subject, reason=repr(error))

    async def subscribe(self, subject: str, queue: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """NATS may learn of it later than others ask: see `settle`."""
        return await self.client.subscribe(subject, queue=queue, cb=callback)

    async def settle(self) -> None:
        """Returns once NATS knows what was subscribed to before, or cannot be asked; then a reconnect tells it.

        NATS reads one connection in order, so that nobody is there to answer is said after it. nats-py's own `flush`
        overtakes what it should flush.
        """
        if not self.client.is_connected:
            return
        with suppress(nats.errors.Error, TimeoutError, OSError):
            await self.client.request(self.client.new_inbox(), b"", timeout=_SETTLE_SECONDS)

    async def drain(self) -> None:
        """Takes no more, finishes what was taken, says good-bye."""
        if self.client.is_closed:
            return
        self._leaving = True
        try:
            async with asyncio.timeout(5):
                await self.client.drain()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            log.info("bus not drained", reason=repr(error))
            await self.client.close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Without a server nats-py lets the end of its own reader escape; by then it has closed.

    async def _on_error(self, error: Exception) -> None:
        log.warning("bus error", url=self._settings.url, reason=repr(error))

    async def _on_disconnect(self) -> None:
        if not self._leaving:
            log.warning("bus lost", url=self._settings.url)

    async def _on_reconnect(self) -> None:
        log.info("bus found again", url=self._settings.url)


def _headers(timeout: float) -> dict[str, str]:
    headers = {DEADLINE: f"{time.time() + timeout:.3f}"}
    if request := REQUEST_ID.get():
        headers[REQUEST] = request
    return headers
