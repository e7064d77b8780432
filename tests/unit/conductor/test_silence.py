"""When a host that is not heard of counts as down: it had its time, and so had we."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.conductor.cell.silence import MARGIN, RENEWAL, Silence, granted

TTL = 30.0


def listening(since: float = 0.0) -> Silence:
    silence = Silence(TTL)
    silence.unable(since)
    return silence


def test_a_host_is_down_a_margin_after_its_lease() -> None:
    silence = listening()
    silence.went("h1", 100.0, alive=5)
    assert not silence.is_down("h1", 100.0 + TTL * MARGIN)
    assert silence.is_down("h1", 100.1 + TTL * MARGIN)
    silence.came("h1")
    silence.went("h1", 200.0, alive=5)
    assert not silence.is_down("h1", 201.0)


def test_nobody_is_down_before_this_process_could_have_heard_them() -> None:
    assert not Silence(TTL).is_down("h1", 1000.0)
    silence = listening(1000.0)
    assert not silence.is_down("h1", 1000.0 + TTL * (1 + MARGIN))
    assert silence.is_down("h1", 1000.1 + TTL * (1 + MARGIN))


def test_its_own_silence_starts_the_count_again_for_all() -> None:
    """NATS was away, or etcd, for longer than a lease: every host, all of them well, was down at once."""
    silence = listening()
    silence.went("h1", 100.0, alive=5)
    silence.unable(105.0)
    assert not silence.is_down("h1", 140.0)
    assert silence.is_down("h1", 146.0)


@pytest.mark.parametrize(("alive", "own"), [(0, True), (2, True), (3, False), (50, False)])
def test_most_hosts_at_once_are_not_their_own_fault(alive: int, own: bool) -> None:
    silence = listening()
    found = [silence.went(f"h{n}", 100.0 + n, alive + 2 - n) for n in range(3)]
    assert found == [False, False, own]
    assert silence.is_down("h0", 120.0) is not own


def test_hosts_that_fall_silent_one_by_one_are_no_crowd() -> None:
    silence = listening()
    assert not any(silence.went(f"h{n}", 100.0 * n, 3 - n) for n in range(4))


@given(
    ttl=st.floats(3, 600),
    sent=st.floats(0, 1000),
    transit=st.floats(0, 100),
    age=st.floats(0, 1),
)
def test_a_grant_ends_before_the_lease(ttl: float, sent: float, transit: float, age: float) -> None:
    """`transit` seconds after the host sent its heartbeat the conductor answers; the lease was renewed at most its
    renewal time before."""
    renewed = sent + transit - age * RENEWAL * ttl
    assert sent + granted(ttl) < renewed + ttl
