"""A few seeds in every test run; `just sim --seeds 200` runs more."""

import os
import subprocess
import sys


def test_invariants_hold_under_faults() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seeds", "12"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_seed_replays_exactly() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    once, again = (
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", "3"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        for _ in range(2)
    )
    assert once.stdout == again.stdout
    assert once.stderr == again.stderr
