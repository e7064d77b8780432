"""Many seeds in several processes, with a line about each that fails, about the progress, and about the whole."""

import signal
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Final

from attrs import define, field

from tests.sim.run import Outcome, Plan, run_quietly

PROGRESS_SECONDS: Final = 60.0
"""of real time between two lines about how far a run is"""
LOOK_SECONDS: Final = 0.5
"""between two looks at whether a signal has come"""


def _leave_signals() -> None:
    """A worker is ended by its parent alone, which sums up first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@define
class Tally:
    """Counts of the seeds that were run so far."""

    wanted: int
    """seeds of the whole run"""
    ran: int = 0
    servers: int = 0
    kills: int = 0
    failed: list[int] = field(factory=list)
    interrupted: bool = False
    _began: float = field(factory=time.monotonic)
    _said: float = field(factory=time.monotonic)

    def interrupt(self, *_: object) -> None:
        """As a handler of signals."""
        print("interrupted", flush=True)
        self.interrupted = True

    def add(self, outcome: Outcome) -> None:
        """Prints the seed's violations, and now and then how far the run is."""
        self.ran += 1
        self.servers, self.kills = self.servers + outcome.servers, self.kills + outcome.kills
        if outcome.violations:
            self.failed.append(outcome.seed)
            found = [line[:600] for line in outcome.violations[:5]]
            print(f"seed {outcome.seed}: {len(outcome.violations)} violations", *found, sep="\n  ", flush=True)
        if time.monotonic() - self._said > PROGRESS_SECONDS:
            self._said = time.monotonic()
            print(self.summary(), flush=True)

    def summary(self) -> str:
        seconds = time.monotonic() - self._began
        of = "" if self.ran == self.wanted else f" of {self.wanted}"
        seeds = f"{self.ran}{of} seeds, {self.ran - len(self.failed)} clean"
        pace = f"in {seconds:.0f} s, {self.ran / seconds * 60:.0f} seeds a minute"
        failed = sorted(self.failed) or "none"
        return f"{seeds}, {self.servers} servers, {self.kills} kills {pace}; failed: {failed}"


def run_many(seeds: range, plan: Plan, jobs: int, *, until_failed: bool) -> bool:
    """Whether any failed or was not run. Interrupted by a signal, it sums up what was run."""
    tally = Tally(len(seeds))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tally.interrupt)
    print(f"{len(seeds)} seeds from {seeds.start} on, {jobs} at once", flush=True)
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_signals)
    left = {pool.submit(run_quietly, seed, plan) for seed in seeds}
    while left and not tally.interrupted and not (tally.failed and until_failed):
        done, left = wait(left, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            tally.add(future.result())
    # A seed that runs is not waited for: it would hold up the end for minutes.
    workers = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    print(tally.summary(), flush=True)
    return bool(tally.failed) or tally.interrupted
