"""A connection to NATS: hints and requests, endless reconnect, errors of our tree."""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.connection import Connection
from bus.forbidden import Forbidden
from bus.metrics import REQUESTS
from bus.users import public_key
from schemas.codec import RELEASE, dumps, for_release, loads
from schemas.context import REQUEST_ID, TRACEPARENT
from schemas.errors import BusRefused, BusUnavailable, NobodyListens, from_wire
from schemas.settings import BusSettings

R = TypeVar("R")

log = structlog.get_logger()

DEADLINE: Final = "Kn-Deadline"
"""Unix seconds after which nobody waits for the answer. A message that NATS delivers late is dropped by it."""
REQUEST: Final = "Kn-Request-Id"
TRACE: Final = "traceparent"
"""as W3C names it"""
SPEAKS: Final = "Kn-Release"
"""The asker's release: the answer is written for it."""
ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
ERROR_CLASS: Final = "Kn-Error"

_HINT_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 2.0


class Bus:
    """One connection. Make it with `connect`; end it with `drain`."""

    def __init__(self, client: Connection, settings: BusSettings, name: str, inbox: str) -> None:
        self.client = client
        self.name = name
        self.release = RELEASE
        """of the oldest process that is spoken to, unless a message is told otherwise"""
        self._settings = settings
        self._leaving = False
        self._forbidden = Forbidden(f"{name} at NATS {settings.url}", inbox)
        self._refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """fails when waiting for NATS is in vain"""

    @classmethod
    async def connect(cls, settings: BusSettings, name: str, inbox: str = "_INBOX") -> "Bus":
        """Waits for a server for as long as it takes; `name` shows in NATS's connection list. Raises BusRefused when
        what is configured cannot work: files that are no certificates or keys, a server that does not accept ours or
        whose own is not to be trusted. After that, such things are logged and the connection is tried for ever."""
        client = Connection()
        bus = cls(client, settings, name, inbox)
        connecting = asyncio.ensure_future(
            client.connect(
                settings.url.split(","),
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
                **_credentials(settings),
            )
        )
        try:
            await asyncio.wait([connecting, bus._refused], return_when=asyncio.FIRST_COMPLETED)
            if bus._refused.done():
                bus._refused.result()
            await connecting
        except BaseException:
            bus._leaving = True
            connecting.cancel()
            await asyncio.wait([connecting])
            await client.close()
            raise
        bus._refused.cancel()
        return bus

    def now(self) -> float:
        """Unix seconds: what deadlines are told by."""
        return time.time()

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    async def request(
        self, subject: str, message: object, answer: type[R], timeout: float, release: int | None = None
    ) -> R:
        """`release` is the receiver's, where it is known. Raises NobodyListens at once when no function serves the
        subject, SubjectForbidden when NATS does not permit it, BusUnavailable after `timeout` seconds, or the error
        that the function raised."""
        headers = _headers(timeout)
        data = for_release(dumps(message), self.release if release is None else release)
        try:
            with REQUESTS.labels(type(message).__name__).time():
                asking = self.client.request(subject, data, timeout=timeout, headers=headers)
                reply = await self._forbidden.guard(subject, asking)
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
            data = for_release(dumps(message), self.release)
            await self.client.publish(subject, data, headers=_headers(_HINT_SECONDS))
        except (nats.errors.Error, OSError) as error:
            log.info("hint not sent", subject=subject, reason=repr(error))

    async def subscribe(self, subject: str, queue: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """NATS may learn of it later than others ask, and forbid it: see `settle`."""
        self._forbidden.allow(subject)
        return await self.client.subscribe(subject, queue=queue, cb=callback)

    async def settle(self, *subjects: str) -> None:
        """Returns once NATS knows what was subscribed to before, or cannot be asked; then a reconnect tells it. Raises
        SubjectForbidden when it does not permit one of these subjects."""
        if not self.client.is_connected:
            return
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.client.settle()
        for subject in subjects:
            self._forbidden.check(subject)

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
        if forbidden := self._forbidden.heard(str(error)):
            log.error("forbidden by NATS", url=self._settings.url, user=self.name, what=forbidden)
            return
        log.warning("bus error", url=self._settings.url, reason=repr(error))
        refusal = _refusal(error)
        if refusal and not self._refused.done():
            self._refused.set_exception(BusRefused(f"NATS at {self._settings.url}: {refusal}"))

    async def _on_disconnect(self) -> None:
        if not self._leaving:
            log.warning("bus lost", url=self._settings.url)

    async def _on_reconnect(self) -> None:
        self._forbidden.reconnected()
        log.info("bus found again", url=self._settings.url)


def _credentials(settings: BusSettings) -> dict[str, Any]:
    """As options of nats-py. Raises BusRefused for files that cannot be used."""
    options: dict[str, Any] = {}
    if settings.nkey_seed_file:
        public_key(Path(settings.nkey_seed_file))  # nats-py's own errors name no file
        options["nkeys_seed"] = settings.nkey_seed_file
    if settings.tls.fault:
        raise BusRefused(f"TLS for NATS: {settings.tls.fault}")
    if settings.tls.ca:
        try:
            context = ssl.create_default_context(cafile=settings.tls.ca)
            if settings.tls.cert:
                context.load_cert_chain(settings.tls.cert, settings.tls.key)
        except OSError as error:  # ssl's own errors are OSErrors too
            raise BusRefused(f"the files of TLS for NATS cannot be used: {settings.tls}: {error}") from error
        options["tls"] = context
    return options


def _refusal(error: Exception) -> str:
    """What makes trying again pointless as long as nobody changes certificates or keys; empty: nothing does."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}; see bus.tls.ca"
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return f"it does not accept our certificate: {error.reason}; see bus.tls.cert"
    if isinstance(error, nats.errors.SecureConnWantedError):
        return "it does not require TLS, which bus.tls.ca asks for"
    if "authorization violation" in str(error).lower():
        return "it does not know our user; see bus.nkey_seed_file and the users of nats-server's configuration"
    return ""


def _headers(timeout: float) -> dict[str, str]:
    headers = {DEADLINE: f"{time.time() + timeout:.3f}", SPEAKS: str(RELEASE)}
    if request := REQUEST_ID.get():
        headers[REQUEST] = request
    if trace := TRACEPARENT.get():
        headers[TRACE] = trace
    return headers
