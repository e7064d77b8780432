"""A NATS server in memory with what NATS promises: at most once, in no order; that nobody listens is known at once."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

from attrs import define, field

from bus.client import DEADLINE, ERROR, ERROR_CLASS, REQUEST, TRACE
from schemas.codec import dumps, loads
from schemas.context import REQUEST_ID, TRACEPARENT
from schemas.errors import BusUnavailable, NobodyListens, from_wire
from tests.sim.loop import PROCESS, Process, VirtualLoop

R = TypeVar("R")


@define
class Weather:
    """Chances of each message, and its longest delay in seconds."""

    lost: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0
    usual_delay: float = 0.001
    slow_delay: float = 3.0


@define(eq=False)
class SimMessage:
    broker: "Broker"
    subject: str
    data: bytes
    headers: dict[str, str]
    reply: str = ""

    async def respond(self, data: bytes) -> None:
        self.broker.send(SimMessage(self.broker, self.reply, data, {}))


@define(eq=False)
class _Subscription:
    broker: "Broker"
    subject: str
    queue: str
    callback: Callable[[Any], Awaitable[None]]
    process: Process | None

    async def unsubscribe(self) -> None:
        self.broker.subscriptions.pop(self, None)

    def matches(self, subject: str) -> bool:
        mine, theirs = self.subject.split("."), subject.split(".")
        return len(mine) == len(theirs) and all(m in ("*", t) for m, t in zip(mine, theirs, strict=True))


@define(eq=False)
class Broker:
    loop: VirtualLoop
    random: Random
    weather: Weather = field(factory=Weather)
    down: bool = False
    """the server is away: nothing arrives, and nobody is told"""
    cut: dict[Process, None] = field(factory=dict)
    """processes that it does not hear and that do not hear it"""
    subscriptions: dict[_Subscription, None] = field(factory=dict)
    _numbers: "itertools.count[int]" = field(factory=itertools.count)

    def drop(self, process: Process) -> None:
        """Its connection is gone."""
        self.cut.pop(process, None)
        for subscription in list(self.subscriptions):
            if subscription.process is process:
                del self.subscriptions[subscription]

    def reaches(self, process: Process | None) -> bool:
        return not self.down and process not in self.cut

    def inbox(self) -> str:
        return f"_INBOX.{next(self._numbers)}"

    def receivers(self, subject: str) -> list[_Subscription]:
        """One of each queue group, and all that have none."""
        groups: dict[str, list[_Subscription]] = {}
        chosen = []
        for subscription in self.subscriptions:
            if subscription.matches(subject):
                if subscription.queue:
                    groups.setdefault(subscription.queue, []).append(subscription)
                else:
                    chosen.append(subscription)
        return chosen + [self.random.choice(group) for group in groups.values()]

    def send(self, message: SimMessage) -> bool:
        """Whether anybody is there to receive it; that it arrives is another matter."""
        receivers = self.receivers(message.subject)
        if not self.reaches(PROCESS.get()):
            return True
        for subscription in receivers:
            copies = 2 if self.random.random() < self.weather.doubled else 1
            for _ in range(copies):
                if self.random.random() >= self.weather.lost:
                    self._deliver(subscription, message)
        return bool(receivers)

    def _deliver(self, subscription: _Subscription, message: SimMessage) -> None:
        slow = self.random.random() < self.weather.slow
        delay = self.random.uniform(0, self.weather.slow_delay if slow else self.weather.usual_delay)

        def arrive() -> None:
            if subscription in self.subscriptions and self.reaches(subscription.process):
                self.loop.spawn(subscription.process, subscription.callback(message))  # type: ignore[arg-type]

        # The wire is nobody's: what was sent arrives though its sender died.
        self.loop.call_later(delay, arrive, context=_nobody())


def _nobody() -> Any:
    from contextvars import Context

    return Context()


class SimBus:
    """One process's connection; what `bus.client.Bus` is to NATS."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.client = self

    @property
    def connected(self) -> bool:
        return self._broker.reaches(PROCESS.get())

    def now(self) -> float:
        process = PROCESS.get()
        return self._broker.loop.time() + (process.skew if process else 0.0)

    async def subscribe(self, subject: str, queue: str, callback: Any) -> _Subscription:
        subscription = _Subscription(self._broker, subject, queue, callback, PROCESS.get())
        self._broker.subscriptions[subscription] = None
        return subscription

    async def settle(self, *subjects: str) -> None:
        return None

    async def publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        self._broker.send(SimMessage(self._broker, subject, data, headers or {}))

    async def hint(self, subject: str, message: object) -> None:
        await self.publish(subject, dumps(message), self._headers(30.0))

    async def request(
        self, subject: str, message: object, answer: type[R], timeout: float, release: int | None = None
    ) -> R:
        inbox = self._broker.inbox()
        answered: asyncio.Future[SimMessage] = asyncio.get_running_loop().create_future()

        async def received(reply: SimMessage) -> None:
            if not answered.done():
                answered.set_result(reply)

        subscription = await self.subscribe(inbox, "", received)
        try:
            sent = SimMessage(self._broker, subject, dumps(message), self._headers(timeout), inbox)
            if not self._broker.send(sent):
                await asyncio.sleep(0.0002)
                raise NobodyListens(f"no process serves {subject}")
            async with asyncio.timeout(timeout):
                reply = await answered
        except TimeoutError as error:
            raise BusUnavailable(f"no answer on {subject} within {timeout:g} s") from error
        finally:
            await subscription.unsubscribe()
        if ERROR in reply.headers:
            raise from_wire(reply.headers.get(ERROR_CLASS, ""), reply.headers[ERROR])
        return loads(answer, reply.data)

    async def drain(self) -> None:
        return None

    def _headers(self, timeout: float) -> dict[str, str]:
        return {DEADLINE: f"{self.now() + timeout:.3f}", REQUEST: REQUEST_ID.get(), TRACE: TRACEPARENT.get()}
