"""`python -m tests.sim --seed 7` runs one seed and shows its log; `--seeds 200` runs many and names those that fail."""

import argparse
import asyncio
import sys
from typing import Any

import structlog

from tests.sim.many import run_many
from tests.sim.run import Plan, run_seed


def _process(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    from tests.sim.loop import PROCESS

    process = PROCESS.get()
    return {"at": f"{asyncio.get_event_loop().time():9.3f}", "process": process.name if process else "-", **event}


def _line(_: Any, __: str, event: dict[str, Any]) -> str:
    head = f"{event.pop('at')} {event.pop('process'):20} {event.pop('event')}"
    return " ".join([head, *(f"{key}={value}" for key, value in sorted(event.items()))])


def _plan(options: argparse.Namespace) -> Plan:
    off = frozenset(options.off.split(",")) if options.off else frozenset()
    return Plan(off, options.aim, options.bare, rules=not options.no_rules)


def _one(seed: int, plan: Plan) -> bool:
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _process, structlog.processors.format_exc_info, _line],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    outcome = run_seed(seed, plan)
    print(f"{outcome.servers} servers, {outcome.deleted} deleted, {outcome.kills} kills, faults: {outcome.faults}")
    print("\n".join(outcome.violations) or "all invariants hold")
    return bool(outcome.violations)


def main() -> int:
    parser = argparse.ArgumentParser(prog="just sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed, with its log")
    parser.add_argument("--seeds", type=int, default=20, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that run seeds side by side")
    parser.add_argument("--off", default="", help="faults and operators' deeds that do not happen, with commas between")
    parser.add_argument("--aim", default="", help="the purpose whose commits are held up; else each seed draws one")
    parser.add_argument("--bare", action="store_true", default=None, help="without what repairs later: guards alone")
    parser.add_argument("--until-failed", action="store_true", help="end with the first seed that fails")
    parser.add_argument("--no-rules", action="store_true", help="transactions are not held to tests/compares.py")
    options = parser.parse_args()
    plan = _plan(options)
    if options.seed is not None:
        return _one(options.seed, plan)
    return run_many(
        range(options.first, options.first + options.seeds), plan, options.jobs, until_failed=options.until_failed
    )


if __name__ == "__main__":
    sys.exit(main())
