"""The table of a site's processes, in the order in which they are started."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from attrs import field, frozen

from control.site.etcd import etcd_command, etcd_ready
from control.site.http import answers
from control.site.nats import nats_command, nats_ready
from control.site.options import Layout, SiteOptions
from control.site.ports import Port

SUBSTRATE = ("etcd", "nats")
CONTROL = ("scheduler", "super-conductor", "conductor", "api")
AGENT = ("agent",)
LIBVIRT = ("virtlogd", "libvirtd")

ROLES = (*LIBVIRT, *SUBSTRATE, *CONTROL, *AGENT)
STOP_SECONDS = {**dict.fromkeys(SUBSTRATE, 15.0), **dict.fromkeys(LIBVIRT, 15.0)}
"""A process of ours gets longer than its drain_seconds."""
DEFAULT_STOP_SECONDS = 20.0


@frozen
class Part:
    role: str
    command: tuple[str | Path, ...]
    ready: Callable[[], bool]
    ports: tuple[Port, ...]
    ready_seconds: float = 60.0
    environment: Mapping[str, str] = field(factory=dict)


def substrate_parts(options: SiteOptions, layout: Layout, etcd: Path, nats: Path) -> list[Part]:
    ports = options.ports
    return [
        Part(
            "etcd",
            tuple(etcd_command(etcd, layout.etcd_data, ports.etcd, ports.etcd_peer)),
            partial(etcd_ready, ports.etcd),
            (Port(ports.etcd, "etcd", "--etcd-port"), Port(ports.etcd_peer, "etcd's peers", "--etcd-peer-port")),
        ),
        Part(
            "nats",
            tuple(nats_command(nats, layout.nats_config)),
            partial(nats_ready, ports.nats),
            (Port(ports.nats, "nats-server", "--nats-port"),),
        ),
    ]


def own_parts(options: SiteOptions, layout: Layout) -> list[Part]:
    return [_own_part(role, options, layout) for role in (*CONTROL, *AGENT)]


def kilonova_command() -> Path:
    """The command of the environment that this runs in."""
    return Path(sys.executable).parent / "kilonova"


def _own_part(role: str, options: SiteOptions, layout: Layout) -> Part:
    number = options.ports.observe_port(role)
    ports = [Port(number, f"{role}'s metrics and health", "--observe-port")]
    if role == "api":
        ports.append(Port(options.ports.api, role, "--api-port"))
    config = layout.agent_config if role in AGENT else layout.control_config
    return Part(
        role,
        (kilonova_command(), role, "--config", config),
        partial(answers, f"http://127.0.0.1:{ports[-1].number}/readyz"),
        tuple(ports),
        environment={"KILONOVA_PROCESS_OBSERVE_PORT": str(number)},
    )
