"""What one site consists of: where its files lie, its ports, its driver."""

import json
from pathlib import Path
from typing import Literal

import cattrs
from attrs import asdict, field, frozen

from control.site.private import write_private

Profile = Literal["default", "legacy", "secure", "open", "cors"]
"""configurations of a placement that runs alone"""
Driver = Literal["libvirt", "simulated"]

OBSERVED_ROLES = ("scheduler", "super-conductor", "conductor", "agent", "api")
"""Processes in the order of their ports for /readyz and /metrics."""


@frozen
class Ports:
    etcd: int = 12379
    etcd_peer: int = 12380
    nats: int = 14222
    api: int = 8774
    observe: int = 14230
    """the first of one port for each of OBSERVED_ROLES"""

    def observe_port(self, role: str) -> int:
        return self.observe + OBSERVED_ROLES.index(role)


@frozen
class SiteOptions:
    driver: Driver = "libvirt"
    hosts: int = 1
    """simulated hosts; libvirt has this machine alone"""
    ports: Ports = field(factory=Ports)
    region: str = "RegionOne"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def endpoints(self) -> dict[str, str]:
        """URL by service."""
        return {
            "compute": f"{self.url}/compute/v2.1",
            "placement": f"{self.url}/placement",
            "identity": f"{self.url}/identity/v3",
            "image": f"{self.url}/image",
        }


@frozen
class Layout:
    """The files of a site's directory."""

    root: Path

    @property
    def options(self) -> Path:
        return self.root / "options.json"

    @property
    def processes(self) -> Path:
        return self.root / "processes.json"

    @property
    def overrides(self) -> Path:
        return self.root / "overrides.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def cell_key(self) -> Path:
        return self.root / "cell.key"

    @property
    def site_key(self) -> Path:
        return self.root / "site.key"

    @property
    def control_config(self) -> Path:
        return self.root / "control.toml"

    @property
    def agent_config(self) -> Path:
        return self.root / "agent.toml"

    @property
    def clouds(self) -> Path:
        return self.root / "clouds.yaml"

    @property
    def site(self) -> Path:
        return self.root / "site.json"

    @property
    def etcd_data(self) -> Path:
        return self.root / "etcd"

    @property
    def nats_data(self) -> Path:
        return self.root / "nats"

    @property
    def nats_config(self) -> Path:
        return self.root / "nats.conf"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def agent_state(self) -> Path:
        return self.root / "agent"

    @property
    def libvirt_pids(self) -> Path:
        return self.root / "libvirt"

    @property
    def guest(self) -> Path:
        return self.root / "guest"

    @property
    def demo(self) -> Path:
        return self.root / "demo"


def save_options(path: Path, options: SiteOptions) -> None:
    write_private(path, json.dumps(asdict(options), indent=2) + "\n")


def load_options(path: Path) -> SiteOptions | None:
    """None when no site was ever started there."""
    if not path.exists():
        return None
    return cattrs.structure(json.loads(path.read_text()), SiteOptions)
