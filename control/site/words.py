"""What the site says to the person who started it."""

import sys
from pathlib import Path

from control.site.files import CLOUD
from control.site.options import OBSERVED_ROLES, Layout, SiteOptions
from control.site.parts import ROLES
from control.site.site import Status


def client_setup(layout: Layout) -> list[str]:
    """What to type in a shell before `openstack`."""
    return [
        f"export PATH={Path(sys.executable).parent}:$PATH",
        f"export OS_CLIENT_CONFIG_FILE={layout.clouds} OS_CLOUD={CLOUD}",
    ]


def how_to_go_on(layout: Layout, options: SiteOptions, again: bool) -> str:
    state = "The site runs already." if again else "The site runs."
    lines = [
        f"{state} API: {options.url} (driver {options.driver}, {options.hosts} host(s)). Type:",
        "",
        *(f"  {line}" for line in client_setup(layout)),
        "  openstack hypervisor list",
        "  openstack server list",
        "",
        "`just status` shows the processes, `just logs api` a log, `just down` stops the site.",
    ]
    return "\n".join(lines)


def status_table(layout: Layout, status: Status) -> str:
    """One line a process: role, pid or what it lacks, port."""
    if status.options is None or status.is_down:
        return "the site is down; just up"
    ports = status.options.ports
    numbers = {"etcd": ports.etcd, "nats": ports.nats, "api": ports.api}
    numbers |= {role: ports.observe_port(role) for role in OBSERVED_ROLES}
    rows = [
        (role, str(status.running.get(role, "not running")), str(numbers.get(role, "")))
        for role in ROLES
        if role in status.running or role in status.missing
    ]
    lines = [f"{role:<16} {pid:<12} {port}".rstrip() for role, pid, port in (("role", "pid", "port"), *rows)]
    if status.missing:
        lines.append(f"missing: {', '.join(status.missing)}; just up restarts them")
    return "\n".join([*lines, f"logs: {layout.logs}"])
