"""`python -m tests.mutate` plants each fault and prints what catches it; `--only claim`: some of them."""

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from attrs import asdict

from tests.mutate.reasons import REASONS
from tests.mutate.run import Result, compares, names, noticed_by_seeds, noticed_by_tests, tried

RULE_SEEDS: Final = 12
QUICK_SEEDS: Final = 4
COMPARES: Final = frozenset(f"{purpose}: {family} not compared" for purpose, family in compares())


def main() -> int:
    parser = argparse.ArgumentParser(prog="just mutate", description=__doc__)
    parser.add_argument("--only", default="", help="faults with this text in their name")
    parser.add_argument("--seeds", type=int, default=500, help="tried at most for each")
    parser.add_argument("--jobs", type=int, default=1, help="faults that are tried side by side")
    parser.add_argument("--results", type=Path, help="a file that keeps results, to go on where a run ended")
    parser.add_argument("--no-rules", action="store_true", help="count only what follows from a fault")
    parser.add_argument("--quick", action="store_true", help="the faults that are texts, with their tests or few seeds")
    options = parser.parse_args()
    seeds = min(options.seeds, QUICK_SEEDS) if options.quick else options.seeds
    known = _known(options.results)
    wanted = [name for name in names() if options.only in name and not (options.quick and name in COMPARES)]
    if not options.no_rules:
        for look in (lambda: noticed_by_seeds(RULE_SEEDS), noticed_by_tests):
            if any(name not in known for name in wanted if name in COMPARES):
                _keep(known, look(), wanted, options.results)
    left = [name for name in wanted if name not in known]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(tried, name, seeds, rules=not options.no_rules) for name in left]
        for done in as_completed(running):
            result = done.result()
            _keep(known, {result.name: result}, wanted, options.results)
    results = [known[name] for name in wanted]
    survived = [r for r in results if not r.caught and not _reason(r)]
    kinds = Counter(r.kind for r in results)
    print(f"{len(results)} faults, caught by a seed {kinds['seed']}, a test {kinds['test']}, the rule {kinds['rule']};")
    print(f"{len(survived)} neither caught nor justified:", ", ".join(r.name for r in survived) or "none")
    return bool(survived)


def _keep(known: dict[str, Result], found: dict[str, Result], wanted: list[str], results: Path | None) -> None:
    for name, result in found.items():
        if name in wanted and name not in known:
            known[name] = result
            _show(result)
            if results:
                with results.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")


def _known(results: Path | None) -> dict[str, Result]:
    if results is None or not results.exists():
        return {}
    found = (Result(**json.loads(line)) for line in results.read_text().splitlines())
    return {result.name: result for result in found}


def _reason(result: Result) -> str:
    return REASONS.get(result.name, "")


def _show(result: Result) -> None:
    how = f"{result.kind or '-':4}  {result.caught or 'SURVIVED'}"
    print(f"{result.name:70} {result.seconds:5.0f} s  {how}  {_reason(result) or result.saw}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
