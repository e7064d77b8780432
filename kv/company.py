"""Company: what waits at the same time goes to etcd together, at most two groups at a time."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from kv.backend import Backend
from kv.pace import Pace

M = TypeVar("M")
G = TypeVar("G")

MAX_GROUPS: Final = 2


class Company(ABC, Generic[M, G]):
    """Members gather and leave in groups; nothing waits while little is done."""

    def __init__(self) -> None:
        self._waiting: list[M] = []
        self._under_way: dict[asyncio.Task[None], G] = {}
        self._scheduled = False
        self._pace = Pace()

    @abstractmethod
    def _next_group(self) -> G | None:
        """Takes those from the waiting ones that may go now; None when nobody may."""

    @abstractmethod
    async def _run(self, etcd: Backend, group: G) -> None:
        """The call for a group. Tells its members how it ended and raises nothing."""

    def _join(self, etcd: Backend, member: M) -> None:
        self._waiting.append(member)
        loop = asyncio.get_running_loop()
        linger = self._pace.linger(loop.time(), met=len(self._waiting) > 1 or bool(self._under_way))
        if not self._scheduled and len(self._under_way) < MAX_GROUPS:
            self._scheduled = True
            loop.call_later(linger, self._flush, etcd) if linger else loop.call_soon(self._flush, etcd)

    def _flush(self, etcd: Backend) -> None:
        self._scheduled = False
        while self._waiting and len(self._under_way) < MAX_GROUPS:
            group = self._next_group()
            if group is None:
                return
            task = asyncio.create_task(self._run(etcd, group), name=type(self).__name__)
            self._under_way[task] = group
            task.add_done_callback(lambda ended: self._ended(etcd, ended))

    def _ended(self, etcd: Backend, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not self._scheduled:
            self._flush(etcd)
