"""Plants one fault and looks which test or seed catches it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from kv.store import Store
from kv.txn import Txn
from tests.compares import NOTICED, REMOVED, REWRITES, STANDS_ON, noticed, remove
from tests.mutate.planted import PLANTED, Planted
from tests.sim.run import Plan, quiet, run_seed

ROOT: Final = Path(__file__).parent.parent.parent
RULE: Final = "held to tests/compares.py"
COPIED: Final = ("agents", "bus", "control", "kilonova", "kv", "runtime", "schemas", "tests")


_FUNCTIONAL: Final = "tests/functional/"
NAMED: Final = {
    "aggregate": _FUNCTIONAL + "compute/test_compute_api_aggregates.py",
    "create aggregate": _FUNCTIONAL + "compute/test_compute_api_aggregates.py",
    "delete aggregate": _FUNCTIONAL + "compute/test_compute_api_aggregates.py",
    "update aggregate": _FUNCTIONAL + "compute/test_compute_api_aggregates.py",
    "app-credential": _FUNCTIONAL + "test_identity.py",
    "user-": _FUNCTIONAL + "test_identity.py",
    "project-": _FUNCTIONAL + "test_identity.py",
    "role-": _FUNCTIONAL + "test_identity.py",
    "grant": _FUNCTIONAL + "test_identity.py",
    "signing-key": _FUNCTIONAL + "test_identity.py",
    "change flavor": _FUNCTIONAL + "compute/test_compute_api_flavors.py",
    "create flavor": _FUNCTIONAL + "compute/test_compute_api_flavors.py",
    "delete flavor": _FUNCTIONAL + "compute/test_compute_api_flavors.py",
    "create key pair": _FUNCTIONAL + "compute/test_compute_api_rules.py",
    "delete key pair": _FUNCTIONAL + "compute/test_compute_api_rules.py",
    "image": _FUNCTIONAL + "test_images.py",
    "cache images": _FUNCTIONAL + "test_image_precache.py",
    "images cached": _FUNCTIONAL + "test_image_precache.py",
    "image cached": _FUNCTIONAL + "test_image_precache.py",
    "waste": _FUNCTIONAL + "test_image_storage.py",
    "renew image": _FUNCTIONAL + "test_image_leave.py",
    "want image": _FUNCTIONAL + "test_image_leave.py",
    "set quotas": _FUNCTIONAL + "compute/test_compute_api_quotas.py",
    "remove host": _FUNCTIONAL + "test_hosts.py",
    "host facts": _FUNCTIONAL + "test_hosts.py",
    "create name": _FUNCTIONAL + "placement/test_placement_api.py",
    "erase name": _FUNCTIONAL + "placement/test_placement_api.py",
    "mark name": _FUNCTIONAL + "placement/test_placement_api.py",
    "unmark name": _FUNCTIONAL + "placement/test_placement_api.py",
    "rename": _FUNCTIONAL + "placement/test_placement_api.py",
    "set ": _FUNCTIONAL + "placement/test_placement_api.py",
    "release": _FUNCTIONAL + "placement/test_placement_api.py",
    "delete provider": _FUNCTIONAL + "placement/test_placement_api.py",
    "create provider": _FUNCTIONAL + "placement/test_placement_api.py",
}
"""by the beginning of a purpose that the simulation has not: the tests that carry it out"""


@frozen
class Result:
    """`caught` names the test or the seed; empty: nothing caught it."""

    name: str
    caught: str
    seconds: float
    saw: str = ""

    @property
    def kind(self) -> str:
        """Of catch: `rule` when tests/compares.py missed a compare, `test` and `seed` when something followed."""
        if not self.caught:
            return ""
        by_rule = self.saw == RULE or self.saw.startswith("R3 ")
        return "rule" if by_rule else "seed" if self.caught.startswith("seed ") else "test"


def compares() -> list[tuple[str, str]]:
    """(purpose, family) of every compare of every transaction."""
    table: dict[str, dict[str, None]] = {}
    for known in (REWRITES, STANDS_ON):
        for purpose, families in known.items():
            table.setdefault(purpose, {}).update(dict.fromkeys(families))
    return [(purpose, family) for purpose, families in sorted(table.items()) for family in families]


def noticed_by_seeds(seeds: int) -> dict[str, Result]:
    """The removed compares that the first transaction of a seed which lacks one would show, by name. Until then such a
    seed is as without the fault, so one run tells of all."""
    quiet()
    began, found = time.monotonic(), dict[str, Result]()
    for seed in range(seeds):

        async def look(_: Store, txn: Txn, seed: int = seed) -> None:
            for family in noticed(txn):
                name = f"{txn.purpose}: {family} not compared"
                found.setdefault(name, Result(name, f"seed {seed}", time.monotonic() - began, RULE))

        run_seed(seed, Plan(hook=look))
    return found


def noticed_by_tests() -> dict[str, Result]:
    """As `noticed_by_seeds`, by the named tests."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile() as file:
        tests = sorted({*NAMED.values()})
        _in_copy(ROOT, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, environment={NOTICED: file.name})
        lines = Path(file.name).read_text().splitlines()
    found = dict[str, Result]()
    for purpose, family, test in (line.split("\t") for line in lines):
        name = f"{purpose}: {family} not compared"
        found.setdefault(name, Result(name, test, time.monotonic() - began, RULE))
    return found


def without_compare(purpose: str, family: str, seeds: int, *, rules: bool) -> Result:
    """Removes one compare from every such transaction and simulates until a seed fails. With `rules` transactions are
    also held to tests/compares.py; without it only what follows from the fault counts."""
    quiet()
    name, began = f"{purpose}: {family} not compared", time.monotonic()
    committed = 0

    async def drop(_: Store, txn: Txn) -> None:
        nonlocal committed
        if txn.purpose == purpose:
            committed += 1
            remove(txn, family)

    plan = Plan(aim=purpose, hook=drop, rules=rules)
    for seed in range(seeds):
        outcome = run_seed(seed, plan)
        if outcome.violations:
            return Result(name, f"seed {seed}", time.monotonic() - began, outcome.violations[0][:120])
        if seed == 3 and not committed:  # the simulation has no such transaction
            return _by_test(name, purpose, family, began)
    return Result(name, "", time.monotonic() - began, "" if committed else "not in the simulation")


def _by_test(name: str, purpose: str, family: str, began: float) -> Result:
    tests = [test for word, test in NAMED.items() if purpose.startswith(word)]
    environment = {REMOVED: f"{purpose}:{family}"}
    for test in tests:
        run = _in_copy(ROOT, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test, environment=environment)
        if run.returncode == 1:
            failed = next((line for line in run.stdout.splitlines() if line.startswith("FAILED")), test)
            caught = failed.removeprefix("FAILED ").split(" - ")[0]
            return Result(name, caught, time.monotonic() - began, _broken_rule(run.stdout))
    return Result(name, "", time.monotonic() - began, "not in the simulation, " + (", ".join(tests) or "no test"))


@contextmanager
def planted(fault: Planted) -> Iterator[Path]:
    """A copy of the product with the fault in it. Raises LookupError when its text is not there."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        file = copy / fault.path
        text = file.read_text()
        if text.count(fault.old) != 1:
            raise LookupError(f"{fault.name}: its text stands {text.count(fault.old)} times in {fault.path}")
        file.write_text(text.replace(fault.old, fault.new))
        yield copy


def with_fault(fault: Planted, seeds: int, *, rules: bool) -> Result:
    """Its named test first, then seeds."""
    began = time.monotonic()
    with planted(fault) as copy:
        if fault.test:
            run = _in_copy(copy, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", fault.test)
            if run.returncode == 1:
                failed = next((line for line in run.stdout.splitlines() if line.startswith("FAILED")), fault.test)
                caught = failed.removeprefix("FAILED ").split(" - ")[0]
                return Result(fault.name, caught, time.monotonic() - began, _broken_rule(run.stdout))
        options = ["--aim", fault.aim] if fault.aim else []
        options += [] if rules else ["--no-rules"]
        run = _in_copy(copy, "-m", "tests.sim", "--seeds", str(seeds), "--until-failed", *options)
        lines = run.stdout.splitlines()
        seed = next((n for n, line in enumerate(lines) if line.startswith("seed ")), None)
        caught = lines[seed].split(":")[0] if seed is not None else ""
        saw = lines[seed + 1].strip()[:120] if seed is not None else run.stderr[-200:]
        return Result(fault.name, caught, time.monotonic() - began, saw)


def _broken_rule(output: str) -> str:
    """RULE when a test failed since a transaction was not as tests/compares.py lists it."""
    return RULE if "AssertionError: [\"'" in output and "compare" in output else ""


def _in_copy(copy: Path, *arguments: str, environment: Mapping[str, str] = {}) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, "PYTHONPATH": str(copy), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=variables, capture_output=True, text=True, check=False)


def names() -> list[str]:
    """Of all faults, in the order in which they are tried."""
    return [fault.name for fault in PLANTED] + [f"{p}: {f} not compared" for p, f in compares()]


def tried(name: str, seeds: int, *, rules: bool) -> Result:
    """Plants the fault of this name. Raises KeyError for an unknown one."""
    for fault in PLANTED:
        if fault.name == name:
            try:
                return with_fault(fault, seeds, rules=rules)
            except LookupError as error:
                return Result(name, "", 0.0, str(error))
    purpose, family = {f"{p}: {f} not compared": (p, f) for p, f in compares()}[name]
    return evolve(without_compare(purpose, family, seeds, rules=rules), name=name)
