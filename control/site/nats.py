"""nats-server for the site: which program, how it is configured."""

import shutil
import socket
import sys
from pathlib import Path

from control.site.errors import SiteError

MAX_PAYLOAD = "8MB"


def find_nats() -> Path:
    """The wheel's, beside this Python; else one on PATH."""
    own = Path(sys.executable).parent / "nats-server"
    if own.exists():
        return own
    found = shutil.which("nats-server")
    if not found:
        raise SiteError("no nats-server: install the extra kilonova[site]")
    return Path(found)


def nats_config(port: int, data: Path) -> str:
    """JetStream's acknowledgements mean fsync here; no monitoring port."""
    return (
        f"server_name: site\n"
        f"listen: 127.0.0.1:{port}\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        f"jetstream {{\n"
        f'  store_dir: "{data}"\n'
        f"  sync_interval: always\n"
        f"}}\n"
    )


def nats_command(program: Path, config: Path) -> list[str]:
    return [str(program), "--config", str(config)]


def nats_ready(port: int) -> bool:
    """A server that is up greets with INFO."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:
        return False
