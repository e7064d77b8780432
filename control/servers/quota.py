"""A project's limits and what a server counts against them."""

from attrs import evolve

from kv.keys import Global, Key
from kv.store import Store
from schemas.errors import QuotaExceeded
from schemas.quota import DEFAULT_LIMITS, QuotaLimits, QuotaUsage
from schemas.server import Charge, FlavorCopy

DEFAULT_CLASS = "default"
"""Limits kept under this name replace the built-in defaults of every project."""


async def limits_of(store: Store, project: str) -> dict[str, int]:
    own, defaults = await store.read(*limit_keys(project))
    return merged_limits(own.value if own else None, defaults.value if defaults else None)


def limit_keys(project: str) -> tuple[Key[QuotaLimits], Key[QuotaLimits]]:
    """What `merged_limits` takes, for who reads them together with other records."""
    return Global.QUOTA_LIMITS(project), Global.QUOTA_LIMITS(DEFAULT_CLASS)


def merged_limits(own: QuotaLimits | None, defaults: QuotaLimits | None) -> dict[str, int]:
    return {**DEFAULT_LIMITS, **(defaults.limits if defaults else {}), **(own.limits if own else {})}


def charge_of(flavor: FlavorCopy) -> Charge:
    return Charge(1, flavor.vcpus, flavor.memory_mb)


def check_quota(usage: QuotaUsage, charge: Charge, limits: dict[str, int], count: int = 1) -> None:
    """Raises QuotaExceeded, in Nova's words, when `count` such charges do not fit."""
    asked = {"instances": charge.instances, "cores": charge.cores, "ram": charge.ram}
    used = {"instances": usage.instances, "cores": usage.cores, "ram": usage.ram}
    over = [r for r in asked if limits[r] >= 0 and used[r] + asked[r] * count > limits[r]]
    if over:
        raise QuotaExceeded(
            f"Quota exceeded for {', '.join(over)}: Requested {', '.join(str(asked[r] * count) for r in over)}, "
            f"but already used {', '.join(str(used[r]) for r in over)} "
            f"of {', '.join(str(limits[r]) for r in over)} {', '.join(over)}"
        )


def headroom(usage: QuotaUsage, charge: Charge, limits: dict[str, int]) -> int:
    """How many such charges still fit."""
    asked = {"instances": charge.instances, "cores": charge.cores, "ram": charge.ram}
    used = {"instances": usage.instances, "cores": usage.cores, "ram": usage.ram}
    left = [(limits[r] - used[r]) // asked[r] for r in asked if limits[r] >= 0 and asked[r] > 0]
    return max(0, min(left, default=2**31))


def charged(usage: QuotaUsage, charge: Charge, count: int) -> QuotaUsage:
    """With `count` more such charges; a negative count refunds. Never below zero."""
    return evolve(
        usage,
        instances=max(0, usage.instances + charge.instances * count),
        cores=max(0, usage.cores + charge.cores * count),
        ram=max(0, usage.ram + charge.ram * count),
    )
