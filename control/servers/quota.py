"""Limits of a project and of its users, and what a server counts against them."""

from collections.abc import Mapping
from typing import Final, TypeVar

from attrs import evolve, frozen

from kv.keys import Global, Key
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import QuotaExceeded
from schemas.quota import DEFAULT_LIMITS, QuotaLimits, QuotaUsage, Used
from schemas.server import Charge, FlavorCopy

U = TypeVar("U", bound=Used)

UNLIMITED: Final = -1
CHARGED: Final = ("instances", "cores", "ram")
"""what a server counts against"""

DEFAULT_CLASS: Final = "default"
"""The class whose limits replace the built-in defaults of every project."""


@frozen
class Limits:
    """By resource; -1 is unlimited. A user without limits of the own has the project's, and counts against both."""

    project: Mapping[str, int]
    user: Mapping[str, int]


@frozen
class LimitRecords:
    """The records that the limits of a user in a project come from, as they were read; None where there is none."""

    keys: tuple[Key[QuotaLimits], Key[QuotaLimits], Key[QuotaLimits]]
    records: tuple[Stored[QuotaLimits] | None, Stored[QuotaLimits] | None, Stored[QuotaLimits] | None]
    """of the user, of the project, of the default class"""

    @property
    def limits(self) -> Limits:
        return merged_limits(*(stored.value if stored else None for stored in self.records))

    @property
    def revisions(self) -> dict[str, int]:
        """Path -> mod-revision, 0 where there is no record: all that a charge compares."""
        pairs = zip(self.keys, self.records, strict=True)
        return {key.path: stored.mod_revision if stored else 0 for key, stored in pairs}

    def again(self, found: Mapping[str, Stored[QuotaLimits] | None]) -> "LimitRecords":
        """The same keys as they were found now, by path."""
        user, project, defaults = self.keys
        return LimitRecords(self.keys, (found[user.path], found[project.path], found[defaults.path]))

    def compared(self, txn: Txn) -> Txn:
        """No charge is committed under limits that are not in force any more."""
        txn.revisions |= self.revisions
        return txn


async def read_limits(store: Store, project: str, user: str = "") -> LimitRecords:
    """Of a user in a project; without a user both limits are the project's."""
    keys = limit_keys(project, user)
    return LimitRecords(keys, await store.read(*keys))


async def limits_of(store: Store, project: str, user: str = "") -> Limits:
    """As `read_limits`, to be shown."""
    return (await read_limits(store, project, user)).limits


def limit_keys(project: str, user: str) -> tuple[Key[QuotaLimits], Key[QuotaLimits], Key[QuotaLimits]]:
    """The keys of LimitRecords, for callers that read them together with other records."""
    return (
        Global.USER_QUOTA_LIMITS(project, user),
        Global.QUOTA_LIMITS(project),
        Global.QUOTA_CLASSES(DEFAULT_CLASS),
    )


def merged_limits(user: QuotaLimits | None, project: QuotaLimits | None, defaults: QuotaLimits | None) -> Limits:
    whole = {**DEFAULT_LIMITS, **(defaults.limits if defaults else {}), **(project.limits if project else {})}
    return Limits(whole, {**whole, **user.limits} if user else whole)


def charge_of(flavor: FlavorCopy) -> Charge:
    return Charge(1, flavor.vcpus, flavor.memory_mb)


def check_quota(usage: QuotaUsage, user: str, charge: Charge, limits: Limits, count: int = 1) -> None:
    """Raises QuotaExceeded, in Nova's words, when `count` such charges do not fit."""
    own = usage.users.get(user, Used())
    over: dict[str, tuple[int, int, int]] = {}
    for resource in CHARGED:
        asked = getattr(charge, resource) * count
        for used, limit in (
            (getattr(usage, resource), limits.project[resource]),
            (getattr(own, resource), limits.user[resource]),
        ):
            if 0 <= limit < used + asked:
                over.setdefault(resource, (asked, used, limit))
    if over:
        requested, already, allowed = (", ".join(map(str, figures)) for figures in zip(*over.values(), strict=True))
        names = ", ".join(over)
        raise QuotaExceeded(
            f"Quota exceeded for {names}: Requested {requested}, but already used {already} of {allowed} {names}"
        )


def headroom(usage: QuotaUsage, user: str, charge: Charge, limits: Limits) -> int:
    """How many such charges still fit."""
    own = usage.users.get(user, Used())
    left = [
        (limit[resource] - getattr(used, resource)) // getattr(charge, resource)
        for resource in CHARGED
        for used, limit in ((usage, limits.project), (own, limits.user))
        if limit[resource] >= 0 and getattr(charge, resource) > 0
    ]
    return max(0, min(left, default=2**31))


def charged(usage: QuotaUsage, user: str, charge: Charge, count: int) -> QuotaUsage:
    """With `count` more such charges; a negative count refunds. Never below zero."""
    return used_more(usage, user, {resource: getattr(charge, resource) * count for resource in CHARGED})


def used_more(usage: QuotaUsage, user: str, amounts: Mapping[str, int]) -> QuotaUsage:
    """With so much more, or less, of each resource used by the user and so by the project."""
    own = _more(usage.users.get(user, Used()), amounts)
    users = {**usage.users, user: own}
    if own == Used():
        del users[user]
    return evolve(_more(usage, amounts), users=users)


def _more(used: U, amounts: Mapping[str, int]) -> U:
    return evolve(used, **{resource: max(0, getattr(used, resource) + more) for resource, more in amounts.items()})


@frozen
class Range:
    """What a limit may be set to; -1 as `highest` is no end, as a limit it is more than any number."""

    lowest: int
    highest: int

    def reaches(self, limit: int) -> bool:
        return limit == UNLIMITED or limit >= self.lowest

    def holds(self, limit: int) -> bool:
        return self.highest == UNLIMITED or 0 <= limit <= self.highest


def settable(whole: int, given: Mapping[str, int], used: int, user: str | None = None) -> Range:
    """For a limit of a project, which is `whole` now, or of one of its users. `given`: the limits of those users that
    have their own; a project keeps what it has given away, and gives no more than it has."""
    if UNLIMITED in (whole, *given.values()):
        return Range(used, UNLIMITED)
    away = sum(given.values())
    if user is None:
        return Range(max(used, away), UNLIMITED)
    return Range(used, max(0, whole - away) + given.get(user, 0))
