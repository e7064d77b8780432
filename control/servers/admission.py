"""Charges a project for its servers and writes them, in one transaction for all that are asked for at the same time.

A project's usage is one record. Creations that come while a transaction on it is under way wait and then go together,
so that a busy project costs few transactions and loses no races with itself.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from attrs import define, field

from control.servers.commits import commit_settled, retried
from control.servers.expansion import MAX_BYTES, MAX_SERVERS
from control.servers.groups import joined, read_group
from control.servers.quota import Limits, charged, check_quota, headroom
from control.top import Top
from kv.keys import Global
from kv.txn import Stored, Txn
from schemas.errors import BadRequest, KilonovaError, QuotaExceeded
from schemas.group import ServerGroup
from schemas.quota import QuotaUsage
from schemas.server import Charge, Instance


@define(eq=False)
class Applicants:
    """Servers of one request, of which at least `needed` must fit. `write` adds the records of those that do, or of the
    first of them and of who sees to the rest."""

    servers: list[Instance]
    charge: Charge
    limits: Limits
    needed: int
    write: Callable[[Txn, list[Instance]], None]
    bytes: int = 0
    """of user data, all that is written at once"""
    group: str | None = None
    """the server group that they join"""
    accepted: asyncio.Future[int] = field(factory=lambda: asyncio.get_running_loop().create_future())
    """how many were"""

    @property
    def user(self) -> str:
        return self.servers[0].user


class Admission:
    """One project's door in this process."""

    def __init__(self, top: Top, project: str) -> None:
        self._top = top
        self._key = Global.QUOTA_USAGE(project)
        self._waiting: list[Applicants] = []
        self._task: asyncio.Task[None] | None = None
        self._last: Stored[QuotaUsage] | None = None
        """the usage as this process left it: a guess, since the commit compares it"""

    async def admit(self, applicants: Applicants) -> int:
        """How many servers were accepted, from the first. Raises QuotaExceeded when fewer than needed fit."""
        self._waiting.append(applicants)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve(), name=f"admission {self._key.path}")
        return await applicants.accepted

    async def _serve(self) -> None:
        while self._waiting:
            batch = self._take()
            try:
                await retried(partial(self._commit, batch))
            except Exception as error:
                for applicants in batch:
                    if not applicants.accepted.done():
                        applicants.accepted.set_exception(error)

    def _take(self) -> list[Applicants]:
        batch = [self._waiting.pop(0)]
        servers, size = len(batch[0].servers), batch[0].bytes
        while self._waiting:
            one = self._waiting[0]
            if servers + len(one.servers) > MAX_SERVERS or size + one.bytes > MAX_BYTES:
                break
            batch.append(self._waiting.pop(0))
            servers, size = servers + len(one.servers), size + one.bytes
        return batch

    async def _commit(self, batch: list[Applicants]) -> None:
        # Who was told that it cannot be done now may have asked again: nothing more is begun for him.
        batch = [one for one in batch if not one.accepted.done()]
        guess, self._last = self._last, None
        if guess is None or any(_is_over(one, guess.value) for one in batch):
            guess = await self._top.store.get(self._key)  # nobody is refused on a guess
        stored = guess
        before = usage = stored.value if stored else QuotaUsage()
        txn = Txn("accept server")
        taken: list[tuple[Applicants, int]] = []
        refused: list[tuple[Applicants, KilonovaError]] = []
        groups: dict[str, tuple[Stored[ServerGroup], ServerGroup]] = {}
        for one in batch:
            try:
                if one.needed:
                    check_quota(usage, one.user, one.charge, one.limits, one.needed)
            except QuotaExceeded as error:
                refused.append((one, error))
                continue
            count = min(len(one.servers), headroom(usage, one.user, one.charge, one.limits))
            if one.group is not None and count:
                try:
                    await self._join(groups, one, count)
                except (BadRequest, QuotaExceeded) as error:
                    refused.append((one, error))
                    continue
            if count:
                one.write(txn, one.servers[:count])
            usage = charged(usage, one.user, one.charge, count)
            taken.append((one, count))
        for before_joining, group in groups.values():
            txn.replace(before_joining, group)
        first = next((one.servers[0].uuid for one, count in taken if count), None)
        if first is not None:
            if stored:
                txn.replace(stored, usage)
            else:
                txn.create(self._key, usage)
            pivot = stored or Stored(self._key, before, 0, 0)
            await commit_settled(self._top.store, txn, pivot, lambda: self._is_there(first))
            if txn.revision:
                self._last = Stored(self._key, usage, txn.revision, pivot.create_revision)
        for one, count in taken:
            if not one.accepted.done():  # a client that gave up meanwhile spoils nobody else's answer
                one.accepted.set_result(count)
        for one, refusal in refused:
            if not one.accepted.done():
                one.accepted.set_exception(refusal)

    async def _join(
        self, groups: dict[str, tuple[Stored[ServerGroup], ServerGroup]], one: Applicants, count: int
    ) -> None:
        """Its first servers become members; those of one request are all accepted or all refused."""
        assert one.group is not None
        before, group = groups.get(one.group) or await read_group(self._top, one.group)
        servers = [server.uuid for server in one.servers[:count]]
        groups[one.group] = before, joined(group, servers, one.limits.user["server_group_members"], one.needed)

    async def _is_there(self, uuid: str) -> bool:
        return await self._top.store.get(Global.INSTANCES(uuid)) is not None


def _is_over(applicants: Applicants, usage: QuotaUsage) -> bool:
    room = headroom(usage, applicants.user, applicants.charge, applicants.limits)
    return room < max(applicants.needed, len(applicants.servers))
