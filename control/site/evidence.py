"""What a wait of the demo that ran out has to show: the server, its history, its console and the logs behind it.

Each part is gathered by itself and within seconds: what cannot be had says why in its place.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from control.site.options import Layout
from control.site.parts import kilonova_command
from control.site.processes import last_lines

QEMU_LOGS: Final = Path("/var/log/libvirt/qemu")
SECONDS: Final = 20.0
SHOWN: Final = (
    ("status", "status"),
    ("task", "OS-EXT-STS:task_state"),
    ("VM state", "OS-EXT-STS:vm_state"),
    ("power state", "OS-EXT-STS:power_state"),
    ("host", "OS-EXT-SRV-ATTR:host"),
    ("fault", "fault"),
)
NAME_ON_HOST: Final = "OS-EXT-SRV-ATTR:instance_name"
COMMAND_LINE_ENDS: Final = "\\"

Ask = Callable[[Sequence[str]], str]
"""Runs `openstack` with these words; returns its output, or what it complained of."""


def evidence(server: str, layout: Layout, ask: Ask) -> str:
    """All that is known of a server by its name, ready to print."""
    answer = ask(("server", "show", server, "-f", "json"))
    shown = _record(answer)
    uuid, domain = str(shown.get("id", "")), str(shown.get(NAME_ON_HOST, ""))
    story = _output([str(kilonova_command()), "story", uuid, "--config", str(layout.control_config)]) if uuid else ""
    parts = [
        ("server", server_lines(shown) if shown else answer),
        ("story", story),
        ("libvirt", _output(["virsh", "-c", "qemu:///system", "domstate", "--reason", uuid]) if uuid else ""),
        ("console", _tail_of(ask(("console", "log", "show", server)), 15)),
        *((f"{layout.logs / name}.log", last_lines(layout.logs / f"{name}.log", 8)) for name in ("agent", "conductor")),
    ]
    if domain:
        log = QEMU_LOGS / f"{domain}.log"
        parts.append((str(log), _tail_of(without_command_line(last_lines(log, 200)), 12)))
    return "\n\n".join([*(section(title, text) for title, text in parts), what_to_type(server, uuid, layout)])


def server_lines(shown: dict[str, Any]) -> str:
    """What of `openstack server show` tells where it stands."""
    rows = ((title, shown.get(key)) for title, key in SHOWN)
    return "\n".join(f"{title}: {value if isinstance(value, str) else json.dumps(value)}" for title, value in rows)


def section(title: str, text: str) -> str:
    return "\n".join([f"--- {title}", *(f"  {line[:400]}" for line in text.splitlines() or ["(nothing)"])])


def without_command_line(log: str) -> str:
    """A QEMU log without the pages of arguments that libvirt heads each start with."""
    return "\n".join(
        line for line in log.splitlines() if not line.endswith(COMMAND_LINE_ENDS) and not line.startswith("-")
    )


def what_to_type(server: str, uuid: str, layout: Layout) -> str:
    return section(
        "what to type",
        "\n".join(
            [
                f"openstack server event list {server}                # with run/clouds.yaml; see README.md",
                f"kilonova story {uuid or 'ID'} --config {layout.control_config}",
                "just logs agent, just logs conductor, just status",
                "just demo                                            # once more: it removes its own leftovers",
            ]
        ),
    )


def _record(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tail_of(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout + done.stderr).strip()
