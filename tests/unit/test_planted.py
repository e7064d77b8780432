"""The faults that `just mutate` plants stay faults of the code as it is."""

from pathlib import Path

import pytest

from tests.mutate.planted import PLANTED, Planted

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_its_text_stands_once_in_its_file(fault: Planted) -> None:
    """A fault whose text was edited away could not be planted, and nothing but the longest run told of it."""
    text = (ROOT / fault.path).read_text()
    assert text.count(fault.old) == 1
    assert fault.new != fault.old
    assert not fault.test or (ROOT / fault.test.split("::")[0]).exists()
