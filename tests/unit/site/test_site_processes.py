"""Only what the site started is ever found, waited for or stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from control.site.errors import PartFailed
from control.site.processes import Processes, Record, boot_id, is_alive, parse_stat, send_signal, start_ticks


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    known = Processes(tmp_path / "processes.json", tmp_path / "log")
    yield known
    known.stop([record.role for record in known.records()], 0.0)


def sleeper(processes: Processes, role: str = "sleeper") -> Record:
    return processes.start(role, ["sleep", "60"], {})


def test_the_start_time_is_read_past_any_name() -> None:
    fields = " ".join(["S", *("0" for _ in range(18)), "4711"])
    assert parse_stat(f"12 (a) b (c) {fields} 0 0") == 4711
    assert parse_stat(f"12 (dead) {fields.replace('S', 'Z', 1)} 0 0") is None


def test_a_started_process_is_found_again_and_stopped(processes: Processes, tmp_path: Path) -> None:
    record = sleeper(processes)
    again = Processes(tmp_path / "processes.json", tmp_path / "log")
    assert again.find("sleeper") == record
    assert again.stop(["sleeper"], 5.0) == ["sleeper"]
    assert again.records() == []
    assert again.stop(["sleeper"], 5.0) == []


def test_a_process_has_a_session_of_its_own(processes: Processes) -> None:
    record = sleeper(processes)
    assert os.getsid(record.pid) == record.pid != os.getsid(0)


def test_a_recycled_pid_is_somebody_elses(processes: Processes) -> None:
    """The kernel hands out pids again: a record of an earlier process must never stop its namesake."""
    other = subprocess.Popen(["sleep", "60"])
    try:
        started = start_ticks(other.pid)
        assert started is not None
        stale = Record("api", other.pid, started - 1, boot_id())
        assert not is_alive(stale)
        send_signal(stale, signal.SIGKILL)
        assert not is_alive(evolve(stale, started=started, boot="another boot"))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_only_the_named_roles_are_stopped(processes: Processes) -> None:
    sleeper(processes, "one")
    two = sleeper(processes, "two")
    assert processes.stop(["one"], 5.0) == ["one"]
    assert processes.records() == [two]


def test_what_ignores_sigterm_is_killed_at_the_deadline(processes: Processes) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    record = processes.start("deaf", [sys.executable, "-c", f"{stubborn}; time.sleep(60)"], {})
    processes.wait_ready(record, lambda: "deaf" in processes.log_of("deaf").read_text(), 10.0)
    began = time.monotonic()
    assert processes.stop(["deaf"], 0.3) == ["deaf"]
    assert 0.3 <= time.monotonic() - began < 30
    assert processes.records() == []


def test_a_process_that_ends_while_starting_is_reported_with_its_log(processes: Processes) -> None:
    record = processes.start("broken", ["sh", "-c", "echo no configuration >&2; sleep 0.2; exit 3"], {})
    with pytest.raises(
        PartFailed, match=r"(?s)broken ended while starting; the end of .*broken.log:.*no configuration"
    ):
        processes.wait_ready(record, lambda: False, 10.0)


def test_waiting_has_a_deadline(processes: Processes) -> None:
    record = sleeper(processes)
    with pytest.raises(PartFailed, match=r"not ready within 0\.1 s"):
        processes.wait_ready(record, lambda: False, 0.1)
