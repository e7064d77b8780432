"""One site a module: its processes are killed one by one and come back, so every test finds it whole."""

from collections.abc import Iterator

import pytest

from tests.chaos.harness import ChaosSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosSite]:
    made = ChaosSite.made(tmp_path_factory.mktemp("chaos"))
    try:
        made.up()
        yield made
    finally:
        made.down()
