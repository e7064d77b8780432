"""The site that is measured: one of our own in a directory of its own, or one that runs already."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from control.site.etcd import cache_dir, find_etcd
from control.site.foreground import unwind_on_signals
from control.site.nats import find_nats
from control.site.options import OBSERVED_ROLES, Layout, Ports, SiteOptions, load_options
from control.site.site import Site
from runtime.settings import load_settings
from schemas.settings import Settings
from tests.bench.gauges import Gauges
from tests.ports import site_ports

DEFAULT_PORTS = Ports()


@frozen
class Subject:
    layout: Layout
    options: SiteOptions
    endpoints: dict[str, str]
    password: str
    gauges: Gauges
    settings: Settings
    """of its control plane"""


@contextmanager
def own_site(directory: Path, hosts: int, *, keep: bool) -> Iterator[Subject]:
    """Up on free ports, down at the end, whatever that is; with `keep` it goes on running."""
    prefer_named_etcd()
    if not keep:
        unwind_on_signals()
    site = Site(Layout(directory.resolve()), lambda text: print(f"  {text}", flush=True), tied_to_us=not keep)
    try:
        site.up(SiteOptions("simulated", hosts, site_ports()))
        yield attached(site.layout.site)
    finally:
        if keep:
            print(f"the site stays in {site.layout.root}: kilonova site down --dir {site.layout.root}")
        else:
            site.down()
            shutil.rmtree(site.layout.root, ignore_errors=True)


def attached(site_json: Path) -> Subject:
    """The site that wrote this file."""
    layout = Layout(site_json.resolve().parent)
    described = json.loads(site_json.read_text())
    options = load_options(layout.options)
    assert options is not None, f"{layout.options} is missing"
    observed = {role: f"http://127.0.0.1:{options.ports.observe_port(role)}/metrics" for role in OBSERVED_ROLES}
    return Subject(
        layout,
        options,
        described["endpoints"],
        json.loads(layout.secrets.read_text())["admin"],
        Gauges(
            {process["role"]: process["pid"] for process in described["processes"]},
            observed,
            f"http://127.0.0.1:{options.ports.etcd}/metrics",
        ),
        load_settings(layout.control_config),
    )


def prefer_named_etcd() -> None:
    """KILONOVA_ETCD names the program that tests use; a site looks for it on PATH."""
    named = os.environ.get("KILONOVA_ETCD")
    if named:
        os.environ["PATH"] = f"{Path(named).parent}:{os.environ.get('PATH', '')}"


def versions() -> dict[str, str]:
    etcd = find_etcd(cache_dir(), print)
    nats = subprocess.run([find_nats(), "--version"], capture_output=True, text=True, check=True).stdout
    return {"etcd": ".".join(map(str, etcd.version)), "nats-server": nats.split()[-1].lstrip("v")}


def file_system(path: Path) -> str:
    """The type of the file system that holds it: an fsync on tmpfs would cost nothing."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    holding = [(point, kind) for _, point, kind, *_ in mounts if path.resolve().is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1]
