"""A few seeds in every test run; `just sim --seeds 200` runs more."""

import os
import subprocess
import sys


def simulate(*options: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.sim", *options]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_invariants_hold_under_faults() -> None:
    run = simulate("--seeds", "6")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_seed_replays_exactly() -> None:
    once, again = simulate("--seed", "3"), simulate("--seed", "3")
    assert once.returncode == 0, once.stdout
    assert once.stdout == again.stdout
    assert once.stderr == again.stderr
