"""What requests do to the API's process: how long they hold its event loop, how much it logs, what stays in memory."""

from pathlib import Path
from typing import Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.subject import Subject

LONGEST_HOLD: Final = 0.1
"""seconds; in its histogram's buckets"""
LOG_BYTES: Final = 20_000
"""a request"""
MEMORY_MB: Final = 64.0
"""that one operation's requests may add"""


class Strain:
    def __init__(self, subject: Subject) -> None:
        self._metrics = subject.gauges.metrics["api"]
        self._process = psutil.Process(subject.gauges.pids["api"])
        self._log: Path = subject.layout.logs / "api.log"
        self._first = self._memory()
        self._sent = 0
        self._logged = 0
        self.begin()

    def begin(self) -> None:
        self._holds, _ = self._held()
        self._bytes, self._mb = self._log.stat().st_size, self._memory()

    def faults(self, sent: int) -> list[str]:
        """What was too much since `begin`, for so many requests."""
        holds, longest = self._held()
        logged, mb = self._log.stat().st_size - self._bytes, self._memory()
        self._sent += sent
        self._logged += logged
        found = []
        if holds > self._holds:
            found.append(f"the loop was held for more than {LONGEST_HOLD} s, at the longest so far {longest:.2f} s")
        if logged > LOG_BYTES * sent:
            found.append(f"{logged // sent} bytes of log a request")
        if mb - self._mb > MEMORY_MB:
            found.append(f"memory grew by {mb - self._mb:.0f} MiB")
        return found

    def summary(self) -> str:
        return (
            f"{self._sent} requests, loop held for {self._held()[1]:.3f} s at the longest, "
            f"{self._logged // max(1, self._sent)} bytes of log a request, memory {self._first:.0f} to "
            f"{self._memory():.0f} MiB"
        )

    def _memory(self) -> float:
        return float(self._process.memory_info().rss) / 2**20

    def _held(self) -> tuple[float, float]:
        """How often for longer than LONGEST_HOLD, and the longest of all in seconds."""
        text = httpx.get(self._metrics, timeout=30, trust_env=False).raise_for_status().text
        samples = {
            (s.name, s.labels.get("le", "")): s.value for f in text_string_to_metric_families(text) for s in f.samples
        }
        name = "kilonova_loop_held_seconds"
        longer = samples[f"{name}_count", ""] - samples[f"{name}_bucket", str(LONGEST_HOLD)]
        return longer, samples["kilonova_loop_held_longest_seconds", ""]
