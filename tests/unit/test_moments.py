"""How far a store had come at a time: never later than it was."""

from datetime import UTC, datetime, timedelta

from control.cells.liveness import SKEW, Moments

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_revision_counts_only_when_it_was_passed_well_before() -> None:
    moments = Moments()
    assert moments.before(NOW) == 0
    for seconds, revision in ((0, 0), (2, 10), (4, 20), (6, 30)):
        moments.note(NOW + timedelta(seconds=seconds), revision)
    assert moments.before(NOW + timedelta(seconds=4)) == 0
    assert moments.before(NOW + SKEW + timedelta(seconds=3)) == 10
    assert moments.before(NOW + SKEW + timedelta(seconds=4)) == 20
    assert moments.before(NOW + timedelta(hours=1)) == 30
