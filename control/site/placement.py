"""Placement alone, for conformance suites and other tools: one process in the foreground that believes headers.

It works below a prefix of its own of an etcd that runs, or starts an etcd with its data in a temporary directory, and
takes both away when it ends.
"""

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import typer
from attrs import evolve

from control.site.errors import SiteError
from control.site.etcd import cache_dir, etcd_command, etcd_ready, find_etcd
from control.site.foreground import ignore_signals, tied, unwind_on_signals
from control.site.options import Profile
from control.site.ports import free_port
from schemas.settings import CorsSettings, GlobalSettings, PlacementSettings, Settings, StoreSettings

PREFIX: Final = "kilonova-placement/"
START_SECONDS: Final = 20.0


def settings_for(profile: Profile, host: str, port: int, endpoint: str, prefix: str, work: Path) -> Settings:
    """What a profile means. `open` writes its policy into `work`."""
    placement = PlacementSettings(
        host=host, port=port, auth_strategy="noauth2", enforce_new_defaults=profile == "secure"
    )
    if profile == "open":
        placement = evolve(placement, policy_file=str(_open_policy(work)))
    if profile == "cors":
        cors = CorsSettings(allowed_origin=("http://valid.example.com",), allow_headers=("openstack-api-version",))
        placement = evolve(placement, cors=cors)
    return Settings(top=GlobalSettings(store=StoreSettings(endpoints=(endpoint,), prefix=prefix)), placement=placement)


def _open_policy(work: Path) -> Path:
    from control.placement.api.policy import PREFIX as RULE
    from control.placement.api.table import rules

    file = work / "policy.yaml"
    file.write_text("".join(f'"{RULE}{rule}": "@"\n' for rule in sorted(rules())))
    return file


def serve(profile: Profile, host: str, port: int, endpoint: str) -> None:
    """Until SIGINT or SIGTERM. `endpoint` empty: with an etcd of its own."""
    from control.roles import placement_role
    from runtime.process import run_process

    unwind_on_signals()
    work = Path(tempfile.mkdtemp(prefix="kilonova-placement-"))
    prefix = f"{PREFIX}{uuid4().hex[:12]}/"
    try:
        with _etcd(endpoint, work) as chosen:
            settings = settings_for(profile, host, port, chosen, prefix, work)
            typer.echo(f"placement, profile {profile}: http://{host}:{port} on etcd {chosen} below {prefix}")
            try:
                run_process("placement", settings.process, placement_role(settings))
            finally:
                ignore_signals()
                if endpoint:
                    asyncio.run(_empty(settings))
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _etcd(endpoint: str, work: Path) -> Iterator[str]:
    if endpoint:
        yield endpoint
        return
    found = find_etcd(cache_dir(), lambda line: typer.echo(line, err=True))
    port, peer = free_port(), free_port()
    # In a session of its own: a Ctrl-C is for the process that uses it, which ends it afterwards.
    command = tied(etcd_command(found.program, work / "etcd", port, peer))
    process = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not etcd_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SiteError(f"{found.program} did not start: its words are above")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


async def _empty(settings: Settings) -> None:
    """Takes away what was below the prefix."""
    from kv.client import Etcd
    from kv.store import Store

    etcd = Etcd(settings.top.store)
    try:
        await Store(etcd, settings.top.prefix).clear()
    finally:
        await etcd.close()
