"""A worked example of a package of somebody else's: its filter, weigher and request filter are found by entry point and
named in the options like our own.

Its pyproject.toml would say

    [project.entry-points."kilonova.scheduler.filters"]
    RackFilter = "acme_kilonova:rack"
    [project.entry-points."kilonova.scheduler.weighers"]
    QuietWeigher = "acme_kilonova:quiet"
    [project.entry-points."kilonova.scheduler.request_filters"]
    acme_gold = "acme_kilonova:gold"
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_hosts import Sketch, decided, names, options
from unit_records import flavor, spec

from control.scheduler.decide import Refusal
from control.scheduler.filters.table import UnknownFilterError, load_filters

PACKAGE = '''
from attrs import evolve
from control.scheduler.weighers.shape import Weigher

def rack(host, request):
    """Hosts are named RACK-NUMBER; the hint `rack` chooses one."""
    wanted = request.hint("rack")
    return f"not in rack {wanted[0]}" if wanted and not host.host.startswith(wanted[0] + "-") else None

quiet = Weigher(lambda model, rows, request: -1.0 * rows, default=1000.0)

def gold(request, model):
    """Flavors of the gold class go to hosts that say they are fit for it."""
    if request.extra_specs.get("acme:class") != "gold":
        return request
    return evolve(request, required=request.required | {"CUSTOM_GOLD"})

nothing = 7
'''
ENTRIES = """
[kilonova.scheduler.filters]
RackFilter = acme_kilonova:rack
NoFilter = acme_kilonova:nothing
[kilonova.scheduler.weighers]
QuietWeigher = acme_kilonova:quiet
[kilonova.scheduler.request_filters]
acme_gold = acme_kilonova:gold
"""


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package, installed as pip leaves it."""
    (tmp_path / "acme_kilonova.py").write_text(PACKAGE)
    info = tmp_path / "acme_kilonova-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-kilonova\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("acme_kilonova", None)


HOSTS = [Sketch("r1-1", traits=frozenset({"CUSTOM_GOLD"})), Sketch("r1-2"), Sketch("r2-1")]
WITH_RACKS = options(enabled_filters=("ComputeFilter", "RackFilter"))


def test_a_filter() -> None:
    assert names(decided(HOSTS, spec(scheduler_hints={"rack": "r2"}), settings=WITH_RACKS)) == ["r2-1"]
    found = decided(HOSTS, spec(scheduler_hints={"rack": "r3"}), settings=WITH_RACKS)
    assert isinstance(found, Refusal)
    assert found.reasons == {"not in rack r3": 3}
    assert len(names(decided(HOSTS, spec(scheduler_hints={"rack": "r3"})))) == 3, "it was not enabled"


def test_a_weigher_is_loaded_with_all_others() -> None:
    assert names(decided(list(reversed(HOSTS)), spec())) == ["r2-1", "r1-2", "r1-1"]


def test_a_request_filter() -> None:
    assert names(decided(HOSTS, spec(flavor=flavor(extra_specs={"acme:class": "gold"})))) == ["r1-1"]


def test_what_is_no_filter_is_said_at_the_start() -> None:
    with pytest.raises(UnknownFilterError, match="7 is no filter"):
        load_filters(("NoFilter",))
