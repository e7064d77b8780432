"""`python -m tests.sim --seed 7` runs one seed and shows its log; `--seeds 200` runs many and names those that fail."""

import argparse
import asyncio
import os
import sys
import time
from typing import Any

import structlog


def _whose(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    from tests.sim.loop import PROCESS

    process = PROCESS.get()
    return {"at": f"{asyncio.get_event_loop().time():9.3f}", "who": process.name if process else "-", **event}


def _line(_: Any, __: str, event: dict[str, Any]) -> str:
    head = f"{event.pop('at')} {event.pop('who'):14} {event.pop('event')}"
    return " ".join([head, *(f"{key}={value}" for key, value in sorted(event.items()))])


def main() -> int:
    parser = argparse.ArgumentParser(prog="just sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed, with its log")
    parser.add_argument("--seeds", type=int, default=20, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must be the same each time
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    from tests.sim.run import quiet, run_seed

    sys.unraisablehook = lambda _: None  # what a dead process's coroutines say when they are collected

    if options.seed is not None:
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, _whose, structlog.processors.format_exc_info, _line],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
        outcome = run_seed(options.seed)
        print(
            outcome.servers, "servers,", outcome.deleted, "deleted,", outcome.kills, "kills,", outcome.pauses, "pauses"
        )
        print("\n".join(outcome.violations) or "all invariants hold")
        return bool(outcome.violations)
    quiet()
    began, failed, servers, kills = time.monotonic(), [], 0, 0
    for seed in range(options.first, options.first + options.seeds):
        outcome = run_seed(seed)
        servers, kills = servers + outcome.servers, kills + outcome.kills
        if outcome.violations:
            failed.append(seed)
            print(f"seed {seed}: {len(outcome.violations)} violations", *outcome.violations[:5], sep="\n  ", flush=True)
    seconds = time.monotonic() - began
    print(f"{options.seeds} seeds, {servers} servers, {kills} kills in {seconds:.0f} s; failed: {failed or 'none'}")
    return bool(failed)


sys.exit(main())
