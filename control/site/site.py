"""Bring the site up, take it down, say how it is. Each may be repeated; `up` restarts only what is missing."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attrs import frozen

from control.site.errors import PartFailed, SiteError
from control.site.etcd import cache_dir, find_etcd
from control.site.files import (
    Secrets,
    agent_config,
    clouds_yaml,
    config_file,
    control_config,
    site_json,
    site_secrets,
)
from control.site.http import hosts_up
from control.site.hypervisor import guests_running, require_libvirt, start_libvirt
from control.site.nats import find_nats, nats_config
from control.site.options import Layout, SiteOptions, load_options, save_options
from control.site.overrides import StartedWith, differing, overrides_of
from control.site.parts import (
    DEFAULT_STOP_SECONDS,
    LIBVIRT,
    ROLES,
    STOP_SECONDS,
    Part,
    kilonova_command,
    own_parts,
    substrate_parts,
)
from control.site.ports import check_free
from control.site.private import private, write_private
from control.site.processes import Processes

FIRST_MIB = 400
"""of disk that a site takes before it has a server: etcd's logs are allocated whole"""
AGAIN_MIB = 50
HOSTS_SECONDS = 60.0
BOOTSTRAP_SECONDS = 60.0

Say = Callable[[str], None]


@frozen
class Status:
    options: SiteOptions | None
    running: dict[str, int]
    """pid by role"""
    missing: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return not self.missing

    @property
    def is_down(self) -> bool:
        """libvirtd may stay behind for guests that still run."""
        return all(role in LIBVIRT for role in self.running)


class Site:
    """One site in one directory."""

    def __init__(self, layout: Layout, say: Say, *, tied_to_us: bool = False) -> None:
        """`tied_to_us`: it ends with the process that starts it, whatever ends that."""
        self.layout = layout
        self.processes = Processes(layout.processes, layout.logs, tied_to_us=tied_to_us)
        self._say = say
        self._started_with = StartedWith(layout.overrides)

    def status(self) -> Status:
        options = load_options(self.layout.options)
        running = {record.role: record.pid for record in self.processes.records()}
        wanted = [role for role in ROLES if role not in LIBVIRT]
        return Status(options, running, tuple(role for role in wanted if role not in running))

    def up(self, asked: SiteOptions) -> SiteOptions:
        """Returns what runs now. A site that runs keeps its options; asking for others is an error.

        What has started stays when something else fails, so that it can be looked at; `down` stops it.
        """
        # Others get through to what they are to reach, which is guests' files for the user that QEMU runs as.
        self.layout.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        with self._alone():
            options = self._agreed(asked)
            before = self.status()
            if options.driver == "libvirt":
                require_libvirt()
            if not before.is_whole:
                self._check_space()
            passwords = self._write_files(options)
            substrate, own = self._substrate(options), own_parts(options, self.layout)
            check_free(port for part in self._missing([*substrate, *own]) for port in part.ports)
            self._end_outdated(own)
            if options.driver == "libvirt":
                start_libvirt(self.layout.libvirt_pids, self.processes, self._say)
            self._start_parts(substrate)
            if not before.is_whole:
                self._bootstrap(options, passwords)
            self._start_parts(own)
            self._await_hosts(options, passwords)
            write_private(self.layout.site, site_json(options, self.processes.records()))
        return options

    def down(self) -> list[str]:
        """Stops what `up` started, last first, and returns the roles. Guests and all data stay.

        Guests need virtlogd for their consoles, so libvirt's daemons stay for as long as a guest of this site runs.
        """
        if not self.layout.root.exists():
            return []
        with self._alone():
            stopped: list[str] = []
            for role in reversed(ROLES):
                if role in LIBVIRT and (guests := guests_running(self.layout.agent_state)):
                    if self.processes.find(role):
                        self._say(f"{role} stays: {guests} guest(s) of this site run; delete their servers to end them")
                    continue
                if self.processes.stop([role], STOP_SECONDS.get(role, DEFAULT_STOP_SECONDS)):
                    self._say(f"{role} stopped")
                    stopped.append(role)
            self.layout.site.unlink(missing_ok=True)
        return stopped

    def _agreed(self, asked: SiteOptions) -> SiteOptions:
        stored = load_options(self.layout.options)
        if stored is None or self.status().is_down:
            save_options(self.layout.options, asked)
            return asked
        if asked not in (stored, SiteOptions()):
            raise SiteError(
                f"the site in {self.layout.root} runs with other options (driver {stored.driver}, {stored.hosts} "
                f"host(s), API port {stored.ports.api}); take it down first: just down"
            )
        return stored

    def _check_space(self) -> None:
        """Raises SiteError when the disk is too full: etcd's own complaint is a trace of its functions."""
        free = shutil.disk_usage(self.layout.root).free >> 20
        needed = AGAIN_MIB if self.layout.etcd_data.exists() else FIRST_MIB
        if free < needed:
            raise SiteError(
                f"the disk of {self.layout.root} has {free} MiB free, and a site takes {needed} MiB to start: make "
                "room, or choose another place with --dir"
            )

    def _write_files(self, options: SiteOptions) -> Secrets:
        layout = self.layout
        for folder, mode in {
            layout.etcd_data: 0o700,
            layout.nats_data: 0o700,  # images
            layout.spool: 0o700,
            layout.logs: 0o750,
            layout.agent_state: 0o711,
        }.items():
            folder.mkdir(mode=mode, exist_ok=True)
            folder.chmod(mode)
        passwords = site_secrets(layout.secrets)
        write_private(layout.nats_config, nats_config(options.ports.nats, layout.nats_data))
        write_private(layout.control_config, config_file(control_config(options, layout)))
        write_private(layout.agent_config, config_file(agent_config(options, layout)))
        write_private(layout.clouds, clouds_yaml(options, passwords))
        return passwords

    def _substrate(self, options: SiteOptions) -> list[Part]:
        etcd = find_etcd(cache_dir(), self._say)
        if etcd.warning:
            self._say(f"WARNING: {etcd.warning}")
        return substrate_parts(options, self.layout, etcd.program, find_nats())

    def _missing(self, parts: Sequence[Part]) -> list[Part]:
        running = {record.role for record in self.processes.records()}
        return [part for part in parts if part.role not in running]

    def _end_outdated(self, parts: Sequence[Part]) -> None:
        """Stops what runs with other settings of the environment than ours, so that it is started with ours."""
        now = overrides_of(os.environ)
        for part in parts:
            before = self._started_with.of(part.role)
            if self.processes.find(part.role) is None or before is None:
                continue
            if changed := differing(before, now):
                self._say(f"{part.role} is started again, since it ran with another {', '.join(changed)}")
                self.processes.stop([part.role], DEFAULT_STOP_SECONDS)

    def _start_parts(self, parts: Sequence[Part]) -> None:
        """All at once: each of them waits for what it needs."""
        missing = self._missing(parts)
        began = time.monotonic()
        self._started_with.note([part.role for part in missing], overrides_of(os.environ))
        for part in missing:
            self.processes.start(part.role, part.command, part.environment)
        for part in parts:
            record = self.processes.find(part.role)
            if record is None:
                raise PartFailed(f"{part.role} ended at once{self.processes.log_tail(part.role)}")
            self.processes.wait_ready(record, part.ready, part.ready_seconds)
            if part in missing:
                self._say(f"{part.role} is ready (pid {record.pid}, {time.monotonic() - began:.1f} s)")

    def _bootstrap(self, options: SiteOptions, passwords: Secrets) -> None:
        command = [
            *(str(kilonova_command()), "bootstrap", "--config", str(self.layout.control_config)),
            *("--region", options.region),
        ]
        done = subprocess.run(
            command,
            env={**os.environ, "KILONOVA_ADMIN_PASSWORD": passwords.admin, "KILONOVA_DEMO_PASSWORD": passwords.demo},
            capture_output=True,
            text=True,
            timeout=BOOTSTRAP_SECONDS,
            check=False,
        )
        if done.returncode:
            raise PartFailed(f"kilonova bootstrap failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
        self._say("users, projects and cells are there")

    def _await_hosts(self, options: SiteOptions, passwords: Secrets) -> None:
        began, seen = time.monotonic(), 0
        while seen < options.hosts:
            if time.monotonic() - began > HOSTS_SECONDS:
                raise PartFailed(
                    f"{seen} of {options.hosts} host(s) came up within {HOSTS_SECONDS:g} s"
                    f"{self.processes.log_tail('agent')}{self.processes.log_tail('conductor')}"
                )
            time.sleep(0.1)
            seen = hosts_up(options, passwords.admin)
        self._say(f"{seen} host(s) up")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        with open(self.layout.lock, "w", opener=private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("waiting for another up or down of this site to finish")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
