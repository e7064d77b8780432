"""A few seeds in every test run; `just sim --seeds 200` runs more."""

import os
import subprocess
import sys

import pytest


def simulate(*options: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.sim", *options]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_invariants_hold_under_faults() -> None:
    run = simulate("--seeds", "6")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("seed", ["2", "3", "5"])
def test_a_seed_replays_exactly_in_another_process(seed: str) -> None:
    """The order of sets and of dictionaries' keys by hash must decide nothing: two processes hash differently."""
    once, again = (simulate("--seed", seed, "--all", hash_seed=hash_seed) for hash_seed in ("1", "77"))
    assert once.stdout == again.stdout
    assert once.stderr == again.stderr
    assert "servers" in once.stdout
