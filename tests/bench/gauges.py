"""What processes cost: CPU seconds, memory, and their counters of transactions."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import httpx
import psutil
from attrs import field, frozen
from prometheus_client.parser import text_string_to_metric_families

BENCH = "this bench"
TRANSACTIONS = "kilonova_store_transactions"
WRITES = "kilonova_store_key_writes"
GROUPS = "kilonova_store_group_size"
CALLS = "kilonova_store_call_seconds"
PROPOSALS = "etcd_server_proposals_committed_total"
FSYNC = "etcd_disk_wal_fsync_duration_seconds"


@frozen
class Reading:
    """Counters at one moment; subtract two."""

    cpu: Counter[str] = field(factory=Counter)
    """milliseconds by process"""
    transactions: Counter[tuple[str, str]] = field(factory=Counter)
    """by purpose and outcome"""
    writes: Counter[str] = field(factory=Counter)
    """keys by purpose"""
    calls: Counter[str] = field(factory=Counter)
    """of ours to etcd, by kind"""
    etcd: Counter[str] = field(factory=Counter)
    """its own counters, and how many transactions went into how many commits"""
    machine: float = 0.0
    """milliseconds that all cores together were busy"""

    def since(self, before: "Reading") -> "Reading":
        return Reading(
            _minus(self.cpu, before.cpu),
            _minus(self.transactions, before.transactions),
            _minus(self.writes, before.writes),
            _minus(self.calls, before.calls),
            _minus(self.etcd, before.etcd),
            self.machine - before.machine,
        )


def _minus(now: Counter, before: Counter) -> Counter:
    return Counter({key: value - before[key] for key, value in now.items()})


@frozen
class Gauges:
    """`pids` by role; `metrics` are the URLs of our processes' metrics by role, `etcd` that of etcd's."""

    pids: Mapping[str, int]
    metrics: Mapping[str, str]
    etcd: str | None

    def read(self) -> Reading:
        with httpx.Client(timeout=10, trust_env=False, verify=False) as http:
            transactions, writes, calls, etcd = Counter(), Counter(), Counter(), Counter()
            for url in self.metrics.values():
                for name, labels, value in _samples(http, url):
                    if name == f"{TRANSACTIONS}_total":
                        transactions[labels["purpose"], labels["outcome"]] += value
                    elif name == f"{WRITES}_total":
                        writes[labels["purpose"]] += value
                    elif name == f"{CALLS}_count":
                        calls[labels["call"]] += value
                    elif name in (f"{GROUPS}_sum", f"{GROUPS}_count"):
                        etcd[name] += value
            for name, _, value in _samples(http, self.etcd) if self.etcd else ():
                if name in (PROPOSALS, f"{FSYNC}_sum", f"{FSYNC}_count"):
                    etcd[name] += value
        return Reading(self.cpu(), transactions, writes, calls, etcd, _busy())

    def cpu(self) -> Counter[str]:
        spent: Counter[str] = Counter()
        for role, pid in (*self.pids.items(), (BENCH, os.getpid())):
            times = psutil.Process(pid).cpu_times()
            spent[role] += (times.user + times.system) * 1000
        return spent

    def memory(self) -> dict[str, float]:
        """MiB of each process: its own pages and its share of those that it shares (PSS)."""
        return {role: psutil.Process(pid).memory_full_info().pss / 2**20 for role, pid in self.pids.items()}


def _samples(http: httpx.Client, url: str) -> Iterable[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(http.get(url).raise_for_status().text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _busy() -> float:
    times = psutil.cpu_times()
    return (sum(times) - times.idle - times.iowait - times.guest - times.guest_nice) * 1000


def per_purpose(reading: Reading) -> list[tuple[str, float, float, float]]:
    """(purpose, done, lost or unknown, keys written), the most frequent first."""
    done, lost = defaultdict(float), defaultdict(float)
    for (purpose, outcome), count in reading.transactions.items():
        (done if outcome == "done" else lost)[purpose] += count
    purposes = sorted({*done, *lost}, key=lambda p: -done[p])
    return [(p, done[p], lost[p], reading.writes[p]) for p in purposes if done[p] or lost[p]]
