"""The figures as text for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.bench.gauges import BENCH, FSYNC, GROUPS, PROPOSALS, per_purpose

if TYPE_CHECKING:
    from tests.bench.boot import Phase


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def conditions_text(conditions: Mapping[str, Any]) -> str:
    return "conditions  " + "; ".join(f"{name} {value}" for name, value in conditions.items())


def memory_text(title: str, memory: Mapping[str, float]) -> str:
    parts = ", ".join(f"{role} {size:.0f}" for role, size in sorted(memory.items(), key=lambda m: -m[1]))
    ours = sum(size for role, size in memory.items() if role not in ("etcd", "nats", "agent"))
    return f"{title}  {sum(memory.values()):.0f} MiB PSS, control plane {ours:.0f}: {parts}"


def summary_text(phase: "Phase") -> str:
    """One round: rate and latencies, CPU, transactions."""
    count = max(1, len(phase.done))
    what, end = ("boots", "ACTIVE") if phase.name != "delete" else ("deletes", "gone")
    lines = [
        f"{phase.name} x {len(phase.done)}, {phase.in_flight} in flight: {phase.per_second:.1f} {what}/s",
        f"  to {end:<8} {_spread(phase.done)}",
        f"  accepted    {_spread(phase.accepted)}",
        f"  CPU         {_cpu(phase.cost.cpu, count)}",
        f"  etcd        {_etcd(phase, count)}",
        "  by purpose  " + ", ".join(_purpose(row, count) for row in per_purpose(phase.cost)),
    ]
    others = phase.cost.machine - sum(phase.cost.cpu.values())
    lines[3] += f"; the machine was busy for {others / 1000 / (phase.ended - phase.began):.2f} cores with other things"
    lines += [f"  ERROR x {n}   {text}" for text, n in Counter(phase.errors).most_common(5)]
    return "\n".join(lines)


def flatness_text(phases: Sequence["Phase"]) -> str:
    """Boots a second by how full the hosts were, and what that is of the first."""
    boots = [phase for phase in phases if phase.name == "boot"]
    first = {phase.in_flight: phase.per_second for phase in reversed(boots)}
    return "\n".join(
        f"{phase.full:>3} % full, {phase.in_flight:>2} in flight: {phase.per_second:.1f} boots/s, "
        f"{phase.per_second / first[phase.in_flight] * 100:.0f} %"
        for phase in boots
    )


def _spread(seconds: Sequence[float]) -> str:
    return ", ".join(f"p{share * 100:.0f} {quantile(seconds, share) * 1000:.1f} ms" for share in (0.5, 0.95, 0.99))


def _cpu(spent: Counter[str], count: int) -> str:
    site = {role: ms for role, ms in spent.items() if role != BENCH}
    parts = ", ".join(f"{role} {ms / count:.2f}" for role, ms in sorted(site.items(), key=lambda s: -s[1]))
    return f"{sum(site.values()) / count:.1f} ms each: {parts}; {BENCH} {spent[BENCH] / count:.2f}"


def _etcd(phase: "Phase", count: int) -> str:
    rows = per_purpose(phase.cost)
    done, lost, writes = (sum(row[i] for row in rows) / count for i in (1, 2, 3))
    etcd = phase.cost.etcd
    fsyncs = etcd[f"{FSYNC}_count"]
    text = f"{done:.2f} transactions and {writes:.1f} key writes each ({lost:.2f} lost); "
    if groups := etcd[f"{GROUPS}_count"]:
        text += f"{etcd[f'{GROUPS}_sum'] / groups:.1f} transactions a commit, "
    text += ", ".join(f"{calls / count:.2f} {kind} calls" for kind, calls in phase.cost.calls.most_common() if calls)
    text += f", {etcd[PROPOSALS] / count:.2f} raft proposals each"
    if fsyncs:
        text += f", {fsyncs / count:.2f} fsyncs each of {etcd[f'{FSYNC}_sum'] / fsyncs * 1000:.2f} ms"
    return text


def _purpose(row: tuple[str, float, float, float], count: int) -> str:
    purpose, done, lost, writes = row
    return f"{purpose} {done / count:.2f} ({writes / count:.1f} keys" + (f", {lost:g} lost)" if lost else ")")
