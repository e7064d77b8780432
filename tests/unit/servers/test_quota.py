"""Quota arithmetic: what fits, what is charged, and that no charge exceeds a limit."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from unit_records import flavor

from control.servers.quota import Limits, Range, charge_of, charged, check_quota, headroom, settable
from schemas.errors import QuotaExceeded
from schemas.quota import DEFAULT_LIMITS, QuotaUsage, Used
from schemas.server import Charge

small = st.integers(0, 60)
users = st.dictionaries(st.sampled_from("uvw"), st.builds(Used, instances=small, cores=small, ram=small))
usages = st.builds(QuotaUsage, instances=small, cores=small, ram=small, users=users)
charges = st.builds(Charge, instances=st.just(1), cores=st.integers(1, 9), ram=st.integers(1, 9))
numbers = st.fixed_dictionaries({name: st.integers(-1, 60) for name in ("instances", "cores", "ram")})
limits = st.builds(Limits, numbers, numbers)
counts = st.integers(1, 30)


def without_idle(usage: QuotaUsage) -> QuotaUsage:
    """Of the user that was charged nothing is kept when nothing is left."""
    return evolve(usage, users={name: used for name, used in usage.users.items() if name != "u" or used != Used()})


def fits(usage: QuotaUsage, charge: Charge, limit: Limits, count: int) -> bool:
    try:
        check_quota(usage, "u", charge, limit, count)
    except QuotaExceeded:
        return False
    return True


def test_a_flavor_is_charged_by_cores_and_memory() -> None:
    assert charge_of(flavor(vcpus=3, memory_mb=2048)) == Charge(1, 3, 2048)


def test_the_text_that_clients_match_on() -> None:
    usage = QuotaUsage(instances=10, cores=19, ram=100)
    with pytest.raises(QuotaExceeded) as refused:
        check_quota(usage, "u", Charge(1, 2, 512), Limits(DEFAULT_LIMITS, DEFAULT_LIMITS), 1)
    assert refused.value.message == (
        "Quota exceeded for instances, cores: Requested 1, 2, but already used 10, 19 of 10, 20 instances, cores"
    )
    assert refused.value.code == 403


def test_minus_one_is_no_limit() -> None:
    endless = {"instances": -1, "cores": -1, "ram": -1}
    check_quota(QuotaUsage(10**6, 10**6, 10**6), "u", Charge(1, 1, 1), Limits(endless, endless), 10**6)


def test_a_user_s_own_limit_is_told_like_the_project_s() -> None:
    usage = QuotaUsage(5, 5, 5, users={"u": Used(2, 2, 2), "v": Used(3, 3, 3)})
    limit = Limits(DEFAULT_LIMITS, {**DEFAULT_LIMITS, "instances": 2})
    check_quota(usage, "v", Charge(1, 1, 1), Limits(DEFAULT_LIMITS, DEFAULT_LIMITS))
    with pytest.raises(QuotaExceeded, match="instances: Requested 1, but already used 2 of 2 instances"):
        check_quota(usage, "u", Charge(1, 1, 1), limit)


@given(usages, charges, limits, counts)
def test_what_was_allowed_stays_within_every_limit(
    usage: QuotaUsage, charge: Charge, limit: Limits, count: int
) -> None:
    if fits(usage, charge, limit, count):
        after = charged(usage, "u", charge, count)
        for name in ("instances", "cores", "ram"):
            assert limit.project[name] < 0 or getattr(after, name) <= limit.project[name]
            assert limit.user[name] < 0 or getattr(after.users["u"], name) <= limit.user[name]


@given(usages, charges, limits, counts)
def test_headroom_is_the_most_that_fits(usage: QuotaUsage, charge: Charge, limit: Limits, count: int) -> None:
    room = headroom(usage, "u", charge, limit)
    assert fits(usage, charge, limit, count) == (count <= room)


@given(usages, charges, counts)
def test_a_refund_takes_back_what_was_charged(usage: QuotaUsage, charge: Charge, count: int) -> None:
    assert charged(charged(usage, "u", charge, count), "u", charge, -count) == without_idle(usage)


@given(usages, charges, counts)
def test_nothing_is_refunded_below_zero(usage: QuotaUsage, charge: Charge, count: int) -> None:
    after = charged(usage, "u", charge, -count)
    assert min(after.instances, after.cores, after.ram) >= 0


@pytest.mark.parametrize(
    ("whole", "given", "used", "user", "expected"),
    [
        (10, {}, 3, None, Range(3, -1)),
        (10, {"u": 4, "v": 5}, 3, None, Range(9, -1)),
        (-1, {"u": 4}, 3, None, Range(3, -1)),
        (10, {}, 3, "u", Range(3, 10)),
        (10, {"u": 4, "v": 5}, 3, "u", Range(3, 5)),
        (10, {"v": 20}, 0, "u", Range(0, 0)),
        (-1, {"v": 20}, 0, "u", Range(0, -1)),
        (10, {"v": -1}, 0, "u", Range(0, -1)),
    ],
)
def test_what_a_limit_may_be_set_to(
    whole: int, given: dict[str, int], used: int, user: str | None, expected: Range
) -> None:
    assert settable(whole, given, used, user) == expected


def test_no_limit_is_above_every_number() -> None:
    assert Range(5, -1).reaches(-1)
    assert Range(5, -1).holds(-1)
    assert not Range(5, 9).holds(-1)
    assert not Range(5, 9).reaches(4)
