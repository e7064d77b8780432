"""Processes that the site started, and no others: start, find again, wait until ready, stop.

A record names a process by pid *and* kernel start time *and* boot, so a pid that the kernel gave to somebody else is
never mistaken for ours. Records are written before anything waits: what was started can always be stopped.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import cattrs
from attrs import asdict, frozen

from control.site.errors import PartFailed
from control.site.foreground import tied
from control.site.private import write_private

POLL_SECONDS = 0.05
TAIL_BYTES = 1 << 17


@frozen
class Record:
    role: str
    pid: int
    started: int
    """clock ticks between the machine's boot and the process's start"""
    boot: str


class Processes:
    """The processes of one site directory, in the order in which they were started."""

    def __init__(self, file: Path, logs: Path, *, tied_to_us: bool = False) -> None:
        """`tied_to_us`: what is started here gets SIGTERM when this process ends, even by SIGKILL."""
        self._file = file
        self._logs = logs
        self._tied = tied_to_us

    def records(self) -> list[Record]:
        """Living ones only."""
        if not self._file.exists():
            return []
        known = cattrs.structure(json.loads(self._file.read_text()), list[Record])
        return [record for record in known if is_alive(record)]

    def find(self, role: str) -> Record | None:
        return next((record for record in self.records() if record.role == role), None)

    def log_of(self, role: str) -> Path:
        return self._logs / f"{role}.log"

    def start(self, role: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> Record:
        """In a session of its own, so that it outlives this terminal; its output goes to its log."""
        self._logs.mkdir(mode=0o750, parents=True, exist_ok=True)
        with open_private(self.log_of(role)) as log:
            process = subprocess.Popen(
                [str(word) for word in (tied(command, signal.SIGTERM) if self._tied else command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        return self.adopt(role, process.pid)

    def adopt(self, role: str, pid: int) -> Record:
        """Records a process that was started for the site by other means. Raises PartFailed if it is gone."""
        started = start_ticks(pid)
        if started is None:
            raise PartFailed(f"{role} ended at once{self.log_tail(role)}")
        record = Record(role, pid, started, boot_id())
        self._save([*(other for other in self.records() if other.role != role), record])
        return record

    def wait_ready(self, record: Record, ready: Callable[[], bool], seconds: float) -> None:
        """Raises PartFailed when the process ends or the deadline passes first."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not is_alive(record):
                raise PartFailed(f"{record.role} ended while starting{self.log_tail(record.role)}")
            if time.monotonic() > deadline:
                raise PartFailed(f"{record.role} was not ready within {seconds:g} s{self.log_tail(record.role)}")
            time.sleep(POLL_SECONDS)

    def stop(self, roles: Sequence[str], seconds: float) -> list[str]:
        """SIGTERM to all of them at once, SIGKILL to what is left at the deadline. Returns the roles that ran."""
        records = [record for record in self.records() if record.role in roles]
        for record in records:
            send_signal(record, signal.SIGTERM)
        if not gone_within(records, seconds):
            for record in records:
                send_signal(record, signal.SIGKILL)
            gone_within(records, 5.0)
        self._save(self.records())
        return [record.role for record in records]

    def log_tail(self, role: str, lines: int = 12) -> str:
        """The end of a log as the second part of a message."""
        log = self.log_of(role)
        if not log.exists():
            return ""
        tail = last_lines(log, lines).splitlines()
        return f"; the end of {log}:\n" + "\n".join(f"  {line[:400]}" for line in tail)

    def _save(self, records: Sequence[Record]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._file, json.dumps([asdict(record) for record in records], indent=2) + "\n")


def open_private(log: Path) -> BinaryIO:
    """To append to. Others on the machine may not read what processes say of servers, users and addresses."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    os.fchmod(descriptor, 0o640)
    return os.fdopen(descriptor, "ab")


def last_lines(log: Path, lines: int) -> str:
    """The end of a log of any size; why it cannot be read, if so."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def is_alive(record: Record) -> bool:
    return start_ticks(record.pid) == record.started and boot_id() == record.boot


def send_signal(record: Record, number: signal.Signals) -> None:
    """To this very process or to none."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(record):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def gone_within(records: Sequence[Record], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(record) for record in records):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def start_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """None when there is no such process or only its unreaped remains."""
    try:
        return parse_stat((proc / str(pid) / "stat").read_text())
    except OSError:
        return None


def parse_stat(stat: str) -> int | None:
    """Start time out of /proc/PID/stat; None for a zombie. The name, in parentheses, may contain anything."""
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
