"""Charges a project for its servers and writes them, in one transaction for all that are asked for at the same time.

A project's usage is one record. Creations that come while a transaction on it is under way wait and then go together,
so that a busy project costs few transactions and loses no races with itself. Each transaction compares the usage and
the limits that it was decided on, and counts all that it writes before it is sent.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from attrs import define, field, frozen

from control.servers.commits import commit_settled, retried
from control.servers.expansion import MAX_SERVERS
from control.servers.groups import joined
from control.servers.quota import LimitRecords, charged, check_quota, headroom
from control.top import Top
from kv.keys import Global, Key
from kv.txn import Stored, Txn
from schemas.errors import BadRequest, StoreUnavailable, Unavailable
from schemas.group import ServerGroup
from schemas.quota import QuotaUsage
from schemas.server import Charge, Instance


@define(eq=False)
class Applicants:
    """Servers of one request, of which at least `needed` must fit. `write` adds the records of those that do, or of the
    first of them and of the operation that writes the rest."""

    servers: list[Instance]
    charge: Charge
    limits: LimitRecords
    """as the caller has read them: what has changed since is read again"""
    needed: int
    write: Callable[[Txn, list[Instance]], None]
    group: str | None = None
    """the server group that they join"""
    accepted: asyncio.Future[int] = field(factory=lambda: asyncio.get_running_loop().create_future())
    """how many were"""

    @property
    def user(self) -> str:
        return self.servers[0].user

    def refuse(self, error: BaseException) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(error)


@frozen
class _Known:
    """What a batch is decided on."""

    usage: Stored[QuotaUsage] | None
    limits: dict[str, LimitRecords]
    """by user"""
    groups: dict[str, Stored[ServerGroup] | None]
    """by uuid"""
    fresh: bool
    """read for this batch: only then it refuses anything"""


@define
class _Plan:
    """What one transaction does, and for whom."""

    usage: QuotaUsage
    txn: Txn = field(factory=lambda: Txn("accept server"))
    groups: dict[str, ServerGroup] = field(factory=dict)
    """as joined, by uuid"""
    taken: list[tuple[Applicants, int]] = field(factory=list)
    refused: list[tuple[Applicants, Exception]] = field(factory=list)
    left: list[Applicants] = field(factory=list)
    """those that did not fit into the transaction"""

    @property
    def complete(self) -> bool:
        return not self.refused and all(count == len(one.servers) for one, count in self.taken)


class Admission:
    """One project's queue in this process."""

    def __init__(self, top: Top, project: str) -> None:
        self._top = top
        self._key = Global.QUOTA_USAGE(project)
        self._waiting: list[Applicants] = []
        self._batch: list[Applicants] = []
        """those that are under way"""
        self._task: asyncio.Task[None] | None = None
        self._last: Stored[QuotaUsage] | None = None
        """the usage as this process left it: a guess, since the commit compares it"""

    @property
    def idle(self) -> bool:
        return self._task is None

    async def admit(self, applicants: Applicants) -> int:
        """How many servers were accepted, from the first. Raises QuotaExceeded when fewer than needed fit."""
        self._waiting.append(applicants)
        if self.idle:
            self._task = asyncio.create_task(self._serve(), name=f"admission {self._key.path}")
            self._task.add_done_callback(self._ended)
        return await applicants.accepted

    async def _serve(self) -> None:
        while self._waiting:
            self._batch, self._waiting = self._waiting[:MAX_SERVERS], self._waiting[MAX_SERVERS:]
            self._waiting = [*await self._together(self._batch), *self._waiting]
            self._batch = []
        self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for an answer that cannot come, however the task ended."""
        if task is not self._task:
            return
        self._task = None
        for one in (*self._batch, *self._waiting):
            one.refuse(Unavailable("The process ended before the servers were accepted: ask again"))
        self._batch, self._waiting = [], []

    async def _together(self, batch: list[Applicants]) -> list[Applicants]:
        """Answers all but those that it returns, which did not fit into the same transaction."""
        tries = count()
        try:
            return await retried(lambda: self._commit(batch, fresh=next(tries) > 0))
        except StoreUnavailable as error:  # it says nothing of any one of them
            for one in batch:
                one.refuse(error)
        except Exception as error:
            if len(batch) == 1:
                batch[0].refuse(error)
            else:  # whatever it is, it may concern one of them alone
                for one in batch:
                    await self._together([one])
        return []

    async def _commit(self, batch: list[Applicants], *, fresh: bool) -> list[Applicants]:
        # A caller that was told to ask again may have done so: nothing more is begun for the first request.
        batch = [one for one in batch if not one.accepted.done()]
        if not batch:
            return []
        known = await self._known(batch, fresh=fresh)
        plan = _plan(known, batch)
        if not plan.complete and not known.fresh:  # nobody is refused on a guess
            known = await self._known(batch, fresh=True)
            plan = _plan(known, batch)
        first = next((one.servers[0].uuid for one, accepted in plan.taken if accepted), None)
        if first is not None:
            pivot = known.usage or Stored(self._key, QuotaUsage(), 0, 0)
            txn = plan.txn.replace(pivot, plan.usage)
            await commit_settled(self._top.store, txn, pivot, lambda: self._is_there(first))
            if txn.revision:
                self._last = Stored(self._key, plan.usage, txn.revision, pivot.create_revision)
        for one, accepted in plan.taken:
            if not one.accepted.done():  # a client that gave up meanwhile spoils nobody else's answer
                one.accepted.set_result(accepted)
        for one, refusal in plan.refused:
            one.refuse(refusal)
        return plan.left

    async def _known(self, batch: list[Applicants], *, fresh: bool) -> _Known:
        guess, self._last = self._last, None
        groups = {one.group: Global.GROUPS(one.group) for one in batch if one.group is not None}
        limits = {one.user: one.limits for one in batch}
        agreed: dict[str, int] = {}
        for one in batch:
            agreed = one.limits.revisions | agreed
        fresh = fresh or guess is None or any(one.limits.revisions.items() - agreed.items() for one in batch)
        keys: dict[str, Key[Any]] = {key.path: key for key in groups.values()}
        if fresh:
            keys |= {key.path: key for records in limits.values() for key in records.keys}
            keys[self._key.path] = self._key
        found = dict(zip(keys, await self._top.store.read_all(list(keys.values())), strict=True))
        return _Known(
            found[self._key.path] if fresh else guess,
            {user: records.again(found) if fresh else records for user, records in limits.items()},
            {uuid: found[key.path] for uuid, key in groups.items()},
            fresh,
        )

    async def _is_there(self, uuid: str) -> bool:
        return await self._top.store.get(Global.INSTANCES(uuid)) is not None


def _plan(known: _Known, batch: list[Applicants]) -> _Plan:
    """Takes them in their order while their writes fit into one transaction; one alone always does, as far as this
    goes."""
    plan = _Plan(known.usage.value if known.usage else QuotaUsage())
    for n, one in enumerate(batch):
        try:
            accepted, txn, group = _admitted(known, plan, one)
        except Exception as error:  # what it is, such as a record that cannot be encoded, concerns this one
            plan.refused.append((one, error))
            continue
        if plan.taken and not txn.fits:
            plan.left = batch[n:]
            break
        plan.txn, plan.usage = txn, charged(plan.usage, one.user, one.charge, accepted)
        plan.taken.append((one, accepted))
        if group is not None:
            plan.groups[group.uuid] = group
    return plan


def _admitted(known: _Known, plan: _Plan, one: Applicants) -> tuple[int, Txn, ServerGroup | None]:
    """How many of its servers fit, the transaction with them, and their group as joined. Raises QuotaExceeded, and
    BadRequest when the group is gone."""
    records = known.limits[one.user]
    limits = records.limits
    if one.needed:
        check_quota(plan.usage, one.user, one.charge, limits, one.needed)
    accepted = min(len(one.servers), headroom(plan.usage, one.user, one.charge, limits))
    txn = records.compared(Txn(plan.txn.purpose).include(plan.txn))
    if not accepted:
        return 0, txn, None
    txn.put(Global.QUOTA_USAGE(one.servers[0].project), plan.usage)  # counted here, known at the end
    servers = one.servers[:accepted]
    group = None
    if one.group is not None:
        before = known.groups[one.group]
        if before is None:
            raise BadRequest(f"Instance group {one.group} could not be found.")
        # Those of one request are all accepted or all refused.
        limit = limits.user["server_group_members"]
        group = joined(plan.groups.get(one.group, before.value), [s.uuid for s in servers], limit, one.needed)
        txn.replace(before, group)
    one.write(txn, servers)
    return accepted, txn, group
