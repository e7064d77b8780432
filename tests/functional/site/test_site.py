"""A site comes up, is repaired and goes down, on a real etcd and nats-server; `kilonova` itself is a stand-in."""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import site_ports

from control.site import parts, site
from control.site.errors import PartFailed, PortTaken, SiteError
from control.site.etcd import find_etcd
from control.site.options import Layout, SiteOptions
from control.site.site import Site

ROLES = ("etcd", "nats", "scheduler", "super-conductor", "conductor", "api", "agent")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def a_site(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    fake = tmp_path / "kilonova"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent / "fake_kilonova.py"} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(parts, "kilonova_command", lambda: fake)
    monkeypatch.setattr(site, "kilonova_command", lambda: fake)
    with monkeypatch.context() as nothing_else:  # the wheel's etcd will do, and needs no network
        nothing_else.setenv("PATH", "")
        wheel = find_etcd(tmp_path / "cache", said.append)
    monkeypatch.setattr(site, "find_etcd", lambda *_: wheel)
    made = Site(Layout(tmp_path / "run"), said.append)
    yield made
    made.down()


@pytest.fixture
def options() -> SiteOptions:
    return SiteOptions("simulated", 50, site_ports())


def test_a_site_lives_through_up_repair_and_down(a_site: Site, options: SiteOptions, said: list[str]) -> None:
    a_site.up(options)
    first = a_site.status()
    assert first.is_whole
    described = json.loads(a_site.layout.site.read_text())
    assert {process["role"]: process["pid"] for process in described["processes"]} == first.running
    assert "50 host(s) up" in said

    assert a_site.up(SiteOptions()) == options  # without wishes: what runs is right
    assert a_site.status().running == first.running

    os.kill(first.running["nats"], signal.SIGKILL)
    os.kill(first.running["agent"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while set(a_site.status().missing) != {"nats", "agent"}:
        assert time.monotonic() < deadline
    a_site.up(options)
    repaired = a_site.status()
    assert repaired.is_whole
    assert {role for role in ROLES if repaired.running[role] != first.running[role]} == {"nats", "agent"}
    assert json.loads(a_site.layout.site.read_text())["processes"] != described["processes"]

    assert set(a_site.down()) == set(ROLES)
    assert a_site.status().running == {}
    assert not a_site.layout.site.exists()
    assert a_site.down() == []


def test_a_running_site_keeps_its_options(a_site: Site, options: SiteOptions) -> None:
    a_site.up(options)
    with pytest.raises(SiteError, match="just down"):
        a_site.up(SiteOptions("simulated", 3, options.ports))


def test_passwords_outlive_a_restart_with_the_data_that_they_open(a_site: Site, options: SiteOptions) -> None:
    a_site.up(options)
    a_site.down()
    a_site.up(options)
    assert len(set((a_site.layout.root / "bootstraps").read_text().split())) == 1


def test_nothing_is_started_while_a_port_is_taken(a_site: Site, options: SiteOptions) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", options.ports.api))
        listener.listen()
        with pytest.raises(PortTaken, match=rf"port {options.ports.api} \(api\).*--api-port"):
            a_site.up(options)
    assert a_site.status().running == {}


def test_hosts_that_do_not_come_up_are_an_error_with_logs(
    a_site: Site, options: SiteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "HOSTS_SECONDS", 0.5)
    with pytest.raises(PartFailed, match=r"50 of 51 host\(s\) came up"):
        a_site.up(SiteOptions("simulated", 51, options.ports))


def test_settings_that_changed_are_honoured_by_a_site_that_runs(
    a_site: Site, options: SiteOptions, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`KILONOVA_AGENT_LIBVIRT_DOMAIN_TYPE=qemu just demo` on a site that ran changed nothing and said nothing."""
    a_site.up(options)
    first = a_site.status().running
    monkeypatch.setenv("KILONOVA_RECORD", "1")  # not a setting of any process
    a_site.up(options)
    assert a_site.status().running == first

    monkeypatch.setenv("KILONOVA_AGENT_LIBVIRT_DOMAIN_TYPE", "qemu")
    a_site.up(SiteOptions())
    second = a_site.status()
    assert second.is_whole
    assert {role for role in ROLES if second.running[role] == first[role]} == {"etcd", "nats"}
    assert "agent is started again, since it ran with another KILONOVA_AGENT_LIBVIRT_DOMAIN_TYPE" in said
    assert "qemu" not in a_site.layout.overrides.read_text()

    a_site.up(options)
    assert a_site.status().running == second.running


def test_nothing_of_a_site_but_the_way_to_guests_is_for_others(a_site: Site, options: SiteOptions) -> None:
    """Logs, images' bytes and what clients log in with were as the umask made them: readable by every user."""
    before = os.umask(0)
    try:
        a_site.up(options)
    finally:
        os.umask(before)
    root = a_site.layout.root
    open_to_others = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.stat().st_mode & 0o007 and not _is_hidden(path, root)
    }
    assert open_to_others == {"agent", "bootstraps"}  # the latter is the stand-in's
    assert root.stat().st_mode & 0o777 == a_site.layout.agent_state.stat().st_mode & 0o777 == 0o711
    assert {oct(path.stat().st_mode & 0o777) for path in a_site.layout.logs.iterdir()} == {"0o640"}


def _is_hidden(path: Path, root: Path) -> bool:
    """Whether a folder above keeps others out."""
    return any(not above.stat().st_mode & 0o001 for above in path.parents if above.is_relative_to(root))


def test_what_was_cut_off_while_it_was_written_keeps_no_site_from_starting(a_site: Site, options: SiteOptions) -> None:
    """A kill, or a disk that was full, left half a file, and each later `just up` ended in a traceback."""
    root = a_site.layout.root
    root.mkdir()
    for part in (a_site.layout.options, a_site.layout.processes, a_site.layout.secrets):
        part.with_name(f"{part.name}.new").write_text("{")
    a_site.layout.overrides.write_text("")
    a_site.up(options)
    assert a_site.status().is_whole


def test_a_disk_that_is_too_full_is_named_before_anything_starts(
    a_site: Site, options: SiteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd ended with a trace of its functions, and nothing spoke of the disk."""
    usage = shutil.disk_usage(a_site.layout.root.parent)
    with monkeypatch.context() as full:
        full.setattr(site.shutil, "disk_usage", lambda _: usage._replace(free=3 << 20))
        with pytest.raises(SiteError, match=r"3 MiB free.*takes 400 MiB"):
            a_site.up(options)
    assert a_site.status().running == {}
    a_site.up(options)
    assert a_site.status().is_whole
