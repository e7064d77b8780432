"""Quota arithmetic: what fits, what is charged, and that no charge exceeds a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_records import flavor

from control.servers.quota import charge_of, charged, check_quota, headroom
from schemas.errors import QuotaExceeded
from schemas.quota import DEFAULT_LIMITS, QuotaUsage
from schemas.server import Charge

small = st.integers(0, 60)
usages = st.builds(QuotaUsage, instances=small, cores=small, ram=small)
charges = st.builds(Charge, instances=st.just(1), cores=st.integers(1, 9), ram=st.integers(1, 9))
limits = st.fixed_dictionaries({name: st.integers(-1, 60) for name in ("instances", "cores", "ram")})
counts = st.integers(1, 30)


def fits(usage: QuotaUsage, charge: Charge, limit: dict[str, int], count: int) -> bool:
    try:
        check_quota(usage, charge, limit, count)
    except QuotaExceeded:
        return False
    return True


def test_a_flavor_is_charged_by_cores_and_memory() -> None:
    assert charge_of(flavor(vcpus=3, memory_mb=2048)) == Charge(1, 3, 2048)


def test_the_text_that_clients_match_on() -> None:
    usage = QuotaUsage(instances=10, cores=19, ram=100)
    with pytest.raises(QuotaExceeded) as refused:
        check_quota(usage, Charge(1, 2, 512), dict(DEFAULT_LIMITS), 1)
    assert refused.value.message == (
        "Quota exceeded for instances, cores: Requested 1, 2, but already used 10, 19 of 10, 20 instances, cores"
    )
    assert refused.value.code == 403


def test_minus_one_is_no_limit() -> None:
    check_quota(QuotaUsage(10**6, 10**6, 10**6), Charge(1, 1, 1), {"instances": -1, "cores": -1, "ram": -1}, 10**6)


@given(usages, charges, limits, counts)
def test_what_was_allowed_stays_within_every_limit(
    usage: QuotaUsage, charge: Charge, limit: dict[str, int], count: int
) -> None:
    if fits(usage, charge, limit, count):
        after = charged(usage, charge, count)
        for name, amount in (("instances", after.instances), ("cores", after.cores), ("ram", after.ram)):
            assert limit[name] < 0 or amount <= limit[name]


@given(usages, charges, limits, counts)
def test_headroom_is_the_most_that_fits(usage: QuotaUsage, charge: Charge, limit: dict[str, int], count: int) -> None:
    room = headroom(usage, charge, limit)
    assert fits(usage, charge, limit, count) == (count <= room)


@given(usages, charges, counts)
def test_a_refund_takes_back_what_was_charged(usage: QuotaUsage, charge: Charge, count: int) -> None:
    assert charged(charged(usage, charge, count), charge, -count) == usage


@given(usages, charges, counts)
def test_nothing_is_refunded_below_zero(usage: QuotaUsage, charge: Charge, count: int) -> None:
    after = charged(usage, charge, -count)
    assert min(after.instances, after.cores, after.ram) >= 0
