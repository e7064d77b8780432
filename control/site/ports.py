"""Ports of the site: that they are free, and who has them if not."""

import socket
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from control.site.errors import PortTaken

LISTEN_STATE = "0A"
"""TCP_LISTEN as /proc/net/tcp writes it"""


@frozen
class Port:
    number: int
    use: str
    option: str
    """what to type to have another number"""


def check_free(ports: Iterable[Port]) -> None:
    """Raises PortTaken with the number, the owner and the option that changes it."""
    taken = [port for port in ports if not is_free(port.number)]
    if taken:
        raise PortTaken("\n".join(complaint(port, owner_of(port.number)) for port in taken))


def complaint(port: Port, owner: str) -> str:
    return f"port {port.number} ({port.use}) is taken by {owner}; end that or choose another with {port.option}"


def is_free(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """One that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def accepts(number: int, timeout: float = 1.0) -> bool:
    """Whether something listens there on the loopback address."""
    try:
        socket.create_connection(("127.0.0.1", number), timeout).close()
    except OSError:
        return False
    return True


def owner_of(number: int, proc: Path = Path("/proc")) -> str:
    """The listener's process for humans. Other users' processes can be named by root alone."""
    inodes = {
        inode
        for table in ("tcp", "tcp6")
        if (proc / "net" / table).exists()
        for inode in listening_inodes((proc / "net" / table).read_text(), number)
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.iterdir():
        if process.name.isdigit() and wanted & _open_files(process):
            return f"process {process.name} ({_command(process)})"
    return "a process that this user may not see" if wanted else "an unknown process"


def listening_inodes(table: str, number: int) -> list[str]:
    """Inodes of the sockets that listen on a port, out of /proc/net/tcp."""
    rows = (line.split() for line in table.splitlines()[1:])
    return [row[9] for row in rows if row[3] == LISTEN_STATE and int(row[1].rpartition(":")[2], 16) == number]


def _open_files(process: Path) -> set[str]:
    try:
        links = list((process / "fd").iterdir())
    except OSError:  # not ours to look into, or just gone
        return set()
    return {_target(link) for link in links}


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:100]
    except OSError:
        return "just ended"
