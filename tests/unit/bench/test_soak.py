"""The soak's verdict on the memory of a process."""

import pytest

from tests.bench.soak import Sample, Soak, slope


def test_a_line_s_slope() -> None:
    assert slope([(0, 1.0), (1, 3.0), (2, 5.0)]) == pytest.approx(2.0)
    assert slope([(5, 1.0)]) == 0.0


def test_what_a_process_takes_while_it_warms_up_is_not_growth() -> None:
    soak = Soak([Sample(n * 1000, n, {"api": 100.0 + min(n, 3) * 50, "leak": 100.0 + n}) for n in range(1, 11)])
    slopes = soak.slopes()
    assert slopes["api"] == pytest.approx(0.0)
    assert slopes["leak"] == pytest.approx(1024.0)
