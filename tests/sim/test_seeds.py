"""A few seeds in every test run; `just sim --seeds 200` runs more."""

import os
import re
import signal
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
    once, again = (simulate("--seed", seed, hash_seed=hash_seed) for hash_seed in ("1", "77"))
    assert once.stdout == again.stdout
    assert once.stderr == again.stderr
    assert "servers" in once.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_tells_how_many_seeds_were_clean(number: signal.Signals) -> None:
    """A run that was cut off after an hour printed nothing: whether its hundreds of seeds were clean was lost."""
    command = [sys.executable, "-m", "tests.sim", "--seeds", "500", "--jobs", "2"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "500 seeds from 0 on, 2 at once\n"
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)  # which returns when its workers have ended too
    assert re.search(r"\d+ of 500 seeds, \d+ clean, .* failed: none$", said.strip()), said
    assert run.returncode == 1


def test_a_seed_does_the_same_after_another_one_in_the_same_process() -> None:
    """How wide a window of an index is read was learnt for the whole process: a seed that ran after others read less
    often, and what it found could not be replayed alone."""
    script = "from tests.sim.run import Plan, run_quietly as run; [print(run(seed, Plan())) for seed in (5, 13, 5, 13)]"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    outcomes = run.stdout.splitlines()
    assert outcomes[:2] == outcomes[2:]
