"""Functions on subjects, as NATS micro-service endpoints that come and go.

Speaks the services protocol (`$SRV.PING`, `INFO`, `STATS`), so that `nats micro ls` and `nats micro info` see every
function. `nats.micro` serves the same protocol but cannot take an endpoint off again, which a conductor does whenever a
shard moves.
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

import nats.errors
import orjson
import structlog
from attrs import define, field
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.client import DEADLINE, ERROR, ERROR_CLASS, ERROR_CODE, REQUEST, SPEAKS, TRACE, Bus
from bus.metrics import HANDLED
from schemas.codec import RELEASE, dumps, for_release, loads
from schemas.context import REQUEST_ID, TRACEPARENT, valid_traceparent
from schemas.errors import BadRequest, KilonovaError, Unavailable, to_wire
from schemas.subjects import discovery

Q = TypeVar("Q")
N = TypeVar("N", int, float)

Handler = Callable[[Q, str], Awaitable[object | None]]
"""(message, subject) -> answer; None: a hint that wants no answer."""

log = structlog.get_logger()

SKEW_SECONDS: Final = 5.0
"""that the clocks of two machines may differ: a deadline is held for over so much later"""
LATENESS_SECONDS: Final = 60.0
"""between two lines of the log about messages that came late"""

_KIND: Final = "io.nats.micro.v1."


@define(eq=False)
class Endpoint(Generic[Q]):
    name: str
    subject: str
    queue: str
    takes: type[Q]
    handler: Handler[Q]
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    nanoseconds: int = 0
    subscription: Subscription | None = None
    running: set[asyncio.Task[None]] = field(factory=set)

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "queue_group": self.queue, "metadata": {}}

    def counted(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": self.nanoseconds,
            "average_processing_time": self.nanoseconds // max(1, self.requests),
        }


class Service:
    """One process's functions under one service name."""

    def __init__(self, bus: Bus, name: str, version: str, description: str) -> None:
        self._bus = bus
        self._about: dict[str, Any] = {"name": _fit(name), "id": uuid4().hex, "version": version, "metadata": {}}
        self._description = description
        self._started = datetime.now(UTC)
        self._endpoints: list[Endpoint[Any]] = []
        self._discovery: list[Subscription] = []
        self._lateness = _Lateness(name)

    async def start(self) -> None:
        """Answers discovery from its return on. Raises SubjectForbidden."""
        name, id_ = self._about["name"], self._about["id"]
        subjects: list[str] = []
        for verb, answer in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for subject in discovery(verb, name, id_):
                self._discovery.append(await self._bus.subscribe(subject, "", _replying(answer)))
                subjects.append(subject)
        await self._bus.settle(*subjects)

    async def serve(
        self, name: str, subject: str, takes: type[Q], handler: Handler[Q], queue: str = "q"
    ) -> Endpoint[Q]:
        """Reached from its return on. Calls of one endpoint run side by side. With `queue` "" every process that serves
        it gets each message. Raises SubjectForbidden."""
        endpoint = Endpoint(_fit(name), subject, queue, takes, handler)

        async def received(message: Msg) -> None:
            task = asyncio.create_task(self._handle(endpoint, message), name=f"serve {name}")
            endpoint.running.add(task)
            task.add_done_callback(endpoint.running.discard)

        endpoint.subscription = await self._bus.subscribe(subject, queue, received)
        self._endpoints.append(endpoint)
        await self._bus.settle(subject)
        return endpoint

    async def withdraw(self, endpoint: Endpoint[Any]) -> None:
        """Takes no more messages; those being handled go on."""
        if endpoint in self._endpoints:
            self._endpoints.remove(endpoint)
            await _unsubscribe(endpoint.subscription)

    async def stop(self) -> None:
        """Withdraws everything and waits for what runs."""
        running = [task for endpoint in self._endpoints for task in endpoint.running]
        for endpoint in list(self._endpoints):
            await self.withdraw(endpoint)
        for subscription in self._discovery:
            await _unsubscribe(subscription)
        self._discovery.clear()
        if running:
            await asyncio.wait(running, timeout=5)

    async def _handle(self, endpoint: Endpoint[Any], message: Msg) -> None:
        headers = message.headers or {}
        REQUEST_ID.set(headers.get(REQUEST, ""))
        TRACEPARENT.set(valid_traceparent(headers.get(TRACE, "")))
        began = time.perf_counter_ns()
        try:
            late = self._bus.now() - _number(headers, DEADLINE, math.inf)
            if late > SKEW_SECONDS:
                HANDLED.labels(endpoint.name, "late").inc()
                self._lateness.tell(message.subject, late)
                await self._refuse(message, Unavailable(_late(self._about["name"], late)))
                return
            answer = await endpoint.handler(loads(endpoint.takes, message.data), message.subject)
            if message.reply and answer is not None:
                await message.respond(for_release(dumps(answer), _number(headers, SPEAKS, RELEASE)))
            HANDLED.labels(endpoint.name, "done").inc()
        except Exception as error:
            HANDLED.labels(endpoint.name, "error").inc()
            endpoint.errors += 1
            endpoint.last_error = repr(error)[:200]
            if not isinstance(error, KilonovaError):
                log.exception("function failed", function=endpoint.name, subject=message.subject)
            await self._refuse(message, error)
        finally:
            endpoint.requests += 1
            endpoint.nanoseconds += time.perf_counter_ns() - began

    async def _refuse(self, message: Msg, error: Exception) -> None:
        if not message.reply:
            return
        wire = to_wire(error)
        code = str(error.code if isinstance(error, KilonovaError) else 500)
        text = wire["message"].replace("\r", " ").replace("\n", " ")
        headers = {ERROR: text, ERROR_CODE: code, ERROR_CLASS: wire["error"]}
        try:
            await self._bus.client.publish(message.reply, b"", headers=headers)
        except (nats.errors.Error, OSError) as lost:
            log.info("refusal not sent", reason=repr(lost))

    def _ping(self) -> dict[str, Any]:
        return {"type": _KIND + "ping_response", **self._about}

    def _info(self) -> dict[str, Any]:
        endpoints = [e.described() for e in self._endpoints]
        return {
            "type": _KIND + "info_response",
            **self._about,
            "description": self._description,
            "endpoints": endpoints,
        }

    def _stats(self) -> dict[str, Any]:
        started = self._started.isoformat().replace("+00:00", "Z")
        endpoints = [e.counted() for e in self._endpoints]
        return {"type": _KIND + "stats_response", **self._about, "started": started, "endpoints": endpoints}


def _late(name: str, late: float) -> str:
    return (
        f"{name} got this {late:.1f} s after its deadline: the clocks of the two machines differ by more than "
        f"{SKEW_SECONDS:g} s (have both synchronised, by NTP), or NATS kept it for so long"
    )


class _Lateness:
    """Has the log say now and then that messages come too late."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = -LATENESS_SECONDS

    def tell(self, subject: str, late: float) -> None:
        now = time.monotonic()
        if now - self._last >= LATENESS_SECONDS:
            self._last = now
            log.warning("message refused", subject=subject, reason=_late(self._name, late))


def _fit(name: str) -> str:
    """As the services protocol wants names: letters, digits, hyphens and underscores."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)


def _number(headers: Mapping[str, str], name: str, default: N) -> N:
    """Raises BadRequest."""
    try:
        return type(default)(headers[name]) if name in headers else default
    except ValueError as error:
        raise BadRequest(f"{name} is no number: {headers[name]}") from error


def _replying(answer: Callable[[], dict[str, Any]]) -> Callable[[Msg], Awaitable[None]]:
    async def reply(message: Msg) -> None:
        if message.reply:
            await message.respond(orjson.dumps(answer()))

    return reply


async def _unsubscribe(subscription: Subscription | None) -> None:
    try:
        if subscription is not None:
            await subscription.unsubscribe()
    except (nats.errors.Error, OSError):
        return  # the connection is gone, and with it the subscription
