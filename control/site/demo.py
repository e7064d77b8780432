"""The tour: one real server through its life, with the standard client. May be repeated; takes what is there already.

flavor, image, key pair -> create -> ACTIVE -> show -> console: READY and user data -> stop -> start -> reboot -> delete
"""

import fcntl
import hashlib
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control.site.errors import SiteError
from control.site.evidence import evidence
from control.site.hypervisor import build_guest
from control.site.options import Layout
from control.site.private import private, write_private
from control.site.shell import Shell
from control.site.words import client_setup

SERVER = "kilonova-demo"
FLAVOR = "demo.tiny"
KEY = "kilonova-demo"
GREETING = "hello from user data"
TASK_STATE = "OS-EXT-STS:task_state"
BOOT_SECONDS = 120.0
STOP_SECONDS = 90.0
STATUS_EVERY = 4
CONSOLE_LINES = 25
"""so many lines of the console are shown"""
LINES = ("-f", "value")
"""output without frames"""

USER_DATA = f"""\
#!/bin/sh
echo "{GREETING}: $(uname -sr), up $(cut -d' ' -f1 /proc/uptime) s"
"""


def run_demo(layout: Layout, say: Callable[[str], None]) -> None:
    """Raises SiteError at the first command that fails; its server is removed by the next run."""
    layout.demo.mkdir(mode=0o700, exist_ok=True)
    with open(layout.demo / "lock", "w", opener=private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another demo of this site to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _run(layout, say)


def _run(layout: Layout, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    disk = build_guest(layout.guest)
    say(f"\nThe standard client against {layout.clouds}:\n")
    for line in client_setup(layout):
        say(f"$ {line}")
    shell = Shell(layout, say)
    try:
        image = _prepare(shell, disk, layout.demo)
        _live(shell, image, layout.demo, say)
    except SiteError as error:
        say(f"\n{evidence(SERVER, layout, shell.try_openstack)}\n")
        raise SiteError(f"the demo failed: {error.message}\nWhat was seen is above.") from error
    say(f"\n{farewell(image, layout, time.monotonic() - began)}")


def ready_boots(console: str) -> int:
    """How many boots of the guest have become ready, by its own count kept on its disk."""
    count = ready = 0
    for line in console.splitlines():
        if found := re.match(r"GUEST-BOOTS (\d+)", line):
            count = int(found[1])
        elif line.startswith("GUEST-READY"):
            ready = count
    return ready


def booted(times: int) -> Callable[[str], bool]:
    """Whether a console shows that boot ready and what the user data said."""
    return lambda console: ready_boots(console) >= times and GREETING in console


def unless_in_error(accepted: Callable[[str], bool], status: Callable[[], str]) -> Callable[[str], bool]:
    """The same, but every few looks the server is asked after too: a guest that was stopped writes nothing any more.
    Raises SiteError when it is in ERROR."""
    looks = itertools.count(1)

    def look(shown: str) -> bool:
        if accepted(shown):
            return True
        if next(looks) % STATUS_EVERY == 0 and status() == "ERROR":
            raise SiteError("the server is in ERROR")
        return False

    return look


def at_rest(wanted: str) -> Callable[[str], bool]:
    """Whether a server, shown as JSON, has that status and nothing is going on with it any more."""

    def accepted(shown: str) -> bool:
        server = json.loads(shown)
        if server["status"] == "ERROR":
            raise SiteError("the server is in ERROR")
        return bool(server["status"] == wanted and server[TASK_STATE] is None)

    return accepted


def named(listing: str, name: str) -> list[str]:
    """The first column of the lines whose last column is the name."""
    rows = (line.split() for line in listing.splitlines())
    return [row[0] for row in rows if row and row[-1] == name]


def image_name(disk: bytes) -> str:
    """Another guest is another image."""
    return f"guest-{hashlib.sha256(disk).hexdigest()[:8]}"


def farewell(image: str, layout: Layout, seconds: float) -> str:
    create = f"openstack server create --flavor {FLAVOR} --image {image} --key-name {KEY} --config-drive True"
    return "\n".join(
        [
            f"Done in {seconds:.0f} s. The site goes on running; flavor, image and key pair are kept. By hand:",
            "",
            *(f"  {line}" for line in client_setup(layout)),
            f"  {create} --user-data {layout.demo / 'user-data.sh'} --wait mine",
            "  openstack console log show mine",
            "  openstack server delete mine",
            "",
            "`just status` shows the processes, `just logs agent` a log, `just down` stops the site.",
        ]
    )


def _prepare(shell: Shell, disk: Path, folder: Path) -> str:
    """Flavor, image and key pair as they are needed; returns the image's name."""
    image = image_name(disk.read_bytes())
    public_key = _key_pair(folder)
    (folder / "user-data.sh").write_text(USER_DATA)

    servers = shell.openstack("server", "list", "--name", SERVER, "-n", *LINES, "-c", "ID", "-c", "Name")
    if leftover := named(servers, SERVER):
        shell.openstack("server", "delete", "--wait", *leftover)
    if not named(shell.openstack("flavor", "list", *LINES, "-c", "Name"), FLAVOR):
        shell.openstack("flavor", "create", "--vcpus", "1", "--ram", "128", "--disk", "1", FLAVOR)
    images = shell.openstack("image", "list", "--name", image, "--status", "active", *LINES, "-c", "Name")
    if not named(images, image):
        formats = ("--disk-format", "qcow2", "--container-format", "bare")
        shell.openstack("image", "create", *formats, "--file", str(disk), image)
    if not named(shell.openstack("keypair", "list", *LINES, "-c", "Name"), KEY):
        shell.openstack("keypair", "create", "--public-key", str(public_key), KEY)
    return image


def _live(shell: Shell, image: str, folder: Path, say: Callable[[str], None]) -> None:
    shell.openstack(
        *("server", "create", "--flavor", FLAVOR, "--image", image, "--key-name", KEY, "--config-drive", "True"),
        *("--user-data", str(folder / "user-data.sh"), "--property", "purpose=demo", SERVER),
    )
    _until_status(shell, "ACTIVE", BOOT_SECONDS)
    shell.openstack("server", "show", SERVER)
    console = _until_ready(shell, 1)
    say("\n".join(console.splitlines()[-CONSOLE_LINES:]))

    shell.openstack("server", "stop", SERVER)
    _until_status(shell, "SHUTOFF", STOP_SECONDS)
    shell.openstack("server", "start", SERVER)
    _until_ready(shell, 2)
    shell.openstack("server", "reboot", SERVER)
    _until_ready(shell, 3)
    _until_status(shell, "ACTIVE", BOOT_SECONDS)
    shell.openstack("server", "delete", "--wait", SERVER)


def _until_status(shell: Shell, wanted: str, seconds: float) -> None:
    columns = ("-c", "status", "-c", TASK_STATE)
    shell.until(at_rest(wanted), seconds, "server", "show", SERVER, "-f", "json", *columns)


def _until_ready(shell: Shell, times: int) -> str:
    def status() -> str:
        return shell.try_openstack(("server", "show", SERVER, *LINES, "-c", "status"))

    return shell.until(unless_in_error(booted(times), status), BOOT_SECONDS, "console", "log", "show", SERVER)


def _key_pair(folder: Path) -> Path:
    """The public key's file; the pair is made at the first call."""
    private, public = folder / "id_ed25519", folder / "id_ed25519.pub"
    if not public.exists():
        key = Ed25519PrivateKey.generate()
        formats = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        write_private(private, key.private_bytes(*formats).decode())
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        public.write_text(f"{line.decode()} kilonova-demo\n")
    return public
