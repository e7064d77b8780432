"""When a refusal may be final: only what is certain of a host rules it out."""

from typing import Any

import pytest
from unit_hosts import Sketch, asked, model_of
from unit_records import flavor, spec

from control.scheduler.doubt import may_fit
from control.scheduler.pipeline import load_pipeline
from schemas.settings import Settings

BOTH = frozenset({"cell1", "cell2"})


def doubtful(hosts: list[Sketch], silent: frozenset[str] = frozenset(), **more: Any) -> bool:
    """Of a request that no host takes now, with both cells enabled."""
    settings = Settings()
    return may_fit(model_of(hosts), asked(spec(**more), settings), load_pipeline(settings), BOTH, silent)


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        (Sketch("silent", alive=False), True),
        (Sketch("not-reported", facts=None), True),
        (Sketch("full", used={"VCPU": 64 * 16}), False),
        (Sketch("full-and-silent", alive=False, used={"MEMORY_MB": 16384}), False),
        (Sketch("disabled-and-silent", alive=False, mapping={"disabled": True}), False),
        (Sketch("forced-down", alive=False, mapping={"forced_down": True}), False),
        (Sketch("of-a-disabled-cell", alive=False, cell="cell3"), False),
    ],
    ids=lambda value: value.name if isinstance(value, Sketch) else "",
)
def test_what_says_nothing_of_a_hosts_room_rules_it_out_for_now_only(host: Sketch, answer: bool) -> None:
    """Builds ended in ERROR, "1 down", while a lease was renewed late or a watch was opened again."""
    assert doubtful([host]) is answer


def test_a_host_that_has_been_silent_for_long_is_down() -> None:
    """A build whose only host was dead stayed in BUILD for an hour, where Nova refuses it at once."""
    hosts = [Sketch("dead", alive=False), Sketch("lately", alive=False)]
    assert doubtful(hosts, frozenset({"dead"}))
    assert not doubtful(hosts, frozenset({"dead", "lately"}))


def test_what_fits_nowhere_is_certain() -> None:
    assert not doubtful([Sketch("silent", alive=False)], flavor=flavor(vcpus=1024))
