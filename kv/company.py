"""Company: calls that wait at the same time go to etcd together, at most two groups at a time.

Each call has a deadline from the moment it joins, waiting included, and the queue has a bound: when etcd does not
answer, every call fails in time, and those that come too many fail at once.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Final, Generic, TypeVar

from attrs import define, field

from kv.backend import Backend
from kv.pace import Pace
from schemas.errors import StoreOverloaded

R = TypeVar("R")
M = TypeVar("M", bound="Member[Any]")
G = TypeVar("G", bound="Group[Any]")

MAX_GROUPS: Final = 2
MAX_WAITING: Final = 10_000
"""Calls that wait. Two groups of 128 take about a millisecond, so these are served within a tenth of their time."""
MAX_WAITING_BYTES: Final = 64 << 20


@define(eq=False)
class Member(Generic[R]):
    """A call that waits, or is under way."""

    answer: asyncio.Future[R] = field(factory=lambda: asyncio.get_running_loop().create_future(), kw_only=True)
    deadline: float = field(default=0.0, kw_only=True)
    """in the loop's time"""
    bytes: int = field(default=0, kw_only=True)
    """that it holds while it waits"""

    def resolve(self, result: R) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@define(eq=False)
class Group(Generic[M]):
    members: list[M] = field(factory=list)


class Company(ABC, Generic[M, G]):
    """Members gather and leave in groups; nothing waits while little is done."""

    def __init__(self) -> None:
        self._waiting: list[M] = []
        self._bytes = 0
        """of those that wait"""
        self._under_way: dict[asyncio.Task[None], G] = {}
        self._scheduled = False
        self._pace = Pace()
        self._expiry: asyncio.TimerHandle | None = None

    @abstractmethod
    def _next_group(self) -> G | None:
        """Takes those from the waiting ones that may go now; None when nobody may."""

    @abstractmethod
    async def _run(self, etcd: Backend, group: G) -> None:
        """The call for a group. Tells its members how it ended and raises nothing."""

    @abstractmethod
    def _expired(self, target: str, *, sent: bool) -> Exception:
        """What a member gets whose deadline is over."""

    def _join(self, etcd: Backend, member: M) -> None:
        """Raises StoreOverloaded when too many wait."""
        if len(self._waiting) >= MAX_WAITING or self._bytes + member.bytes > MAX_WAITING_BYTES:
            raise StoreOverloaded(f"{len(self._waiting)} calls wait for etcd at {etcd.target}: ask again later")
        loop = asyncio.get_running_loop()
        now = loop.time()
        member.deadline = now + etcd.timeout
        self._waiting.append(member)
        self._bytes += member.bytes
        if self._expiry is None:
            self._expiry = loop.call_at(member.deadline, self._expire, etcd.target)
        linger = self._pace.linger(now, met=len(self._waiting) > 1 or bool(self._under_way))
        if not self._scheduled and len(self._under_way) < MAX_GROUPS:
            self._scheduled = True
            loop.call_later(linger, self._flush, etcd) if linger else loop.call_soon(self._flush, etcd)

    def _flush(self, etcd: Backend) -> None:
        self._scheduled = False
        while self._waiting and len(self._under_way) < MAX_GROUPS:
            group = self._next_group()
            self._bytes = sum(member.bytes for member in self._waiting)
            if group is None:
                return
            task = asyncio.create_task(self._run(etcd, group), name=type(self).__name__)
            self._under_way[task] = group
            task.add_done_callback(lambda ended: self._ended(etcd, ended))

    def _ended(self, etcd: Backend, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not self._scheduled:
            self._flush(etcd)

    def _expire(self, target: str) -> None:
        """Fails all whose deadline is over, and sets the timer to the next deadline. The timer runs once in a
        deadline's time, not once a call."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        sent = [member for group in self._under_way.values() for member in group.members]
        for members, were_sent in ((self._waiting, False), (sent, True)):
            for member in members:
                if member.deadline <= now:
                    member.fail(self._expired(target, sent=were_sent))
        self._waiting = [member for member in self._waiting if not member.answer.done()]
        self._bytes = sum(member.bytes for member in self._waiting)
        left = [m.deadline for m in (*self._waiting, *sent) if not m.answer.done()]
        self._expiry = loop.call_at(min(left), self._expire, target) if left else None
