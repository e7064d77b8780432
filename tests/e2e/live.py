"""A running API process on the session's etcd and NATS, and the standard clients in this process."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import openstack
from attrs import frozen
from openstackclient.shell import OpenStackShell
from osc_lib.clientmanager import ClientCache, ClientManager

from control.manage.bootstrap import bootstrap_site
from control.site.files import to_toml
from runtime.settings import load_settings
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
PASSWORD, DEMO_PASSWORD = "admin-password", "demo-password"


@frozen
class Shown:
    """What a command printed. `code` is its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@frozen
class Cloud:
    """One identity service and who logs in there."""

    url: str
    user: str = "admin"
    password: str = PASSWORD
    project: str = "admin"

    @property
    def options(self) -> list[str]:
        return [
            *("--os-auth-url", f"{self.url}/identity/v3", "--os-identity-api-version", "3"),
            *("--os-username", self.user, "--os-password", self.password, "--os-project-name", self.project),
            *("--os-user-domain-name", "Default", "--os-project-domain-name", "Default"),
        ]

    def run(self, *words: str, options: list[str] | None = None) -> Shown:
        """Types a command, as one would in a shell; `options` log in otherwise than by this cloud's password."""
        forget_clients()
        out, err = io.StringIO(), io.StringIO()
        argv = [*(self.options if options is None else options), *words]
        with terminal(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            shell = OpenStackShell()
            try:
                code = shell.run(argv)
            except SystemExit as left:
                code = int(left.code or 0)
        return Shown(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str) -> str:
        """What a command that succeeds prints."""
        shown = self.run(*words)
        assert shown.code == 0, f"openstack {' '.join(words)}: {shown.err or shown.out}"
        return shown.out

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "-f", "json"))

    def refused(self, *words: str) -> str:
        """What a command that fails says."""
        shown = self.run(*words)
        assert shown.code != 0, f"openstack {' '.join(words)} was done: {shown.out}"
        return shown.err

    def sdk(self, **more: Any) -> openstack.connection.Connection:
        return openstack.connect(
            auth_url=f"{self.url}/identity/v3",
            username=self.user,
            password=self.password,
            project_name=self.project,
            user_domain_name="Default",
            project_domain_name="Default",
            load_yaml_config=False,
            load_envvars=False,
            **more,
        )


def forget_clients() -> None:
    """The command line's clients are kept by class, so the next command would speak for the one before it."""
    for kept in vars(ClientManager).values():
        if isinstance(kept, ClientCache):
            kept._handle = None


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """A terminal as standard input: from anything else the client takes an image's bytes."""
    ours, theirs = os.openpty()
    before = sys.stdin
    try:
        with os.fdopen(theirs) as sys.stdin:
            yield
    finally:
        sys.stdin = before
        os.close(ours)


@frozen
class Api:
    """An API process that can be killed and started again: it comes back at the same address."""

    config: Path
    port: int
    log: Path
    running: list["subprocess.Popen[bytes]"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "kilonova.cli", "api", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment()))
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.running[-1].poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the API did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As kill -9."""
        process = self.running.pop()
        process.kill()
        process.wait()

    def stop(self) -> None:
        while self.running:
            self.running[-1].terminate()
            try:
                self.running.pop().wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def environment() -> dict[str, str]:
    """This tree's code, and no credentials of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def command(api: Api, *words: str) -> str:
    """What a `kilonova` command of the operator's prints."""
    argv = [sys.executable, "-m", "kilonova.cli", *words, "--config", str(api.config)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def running_api(etcd: str, nats: str, directory: Path, **settings: Any) -> Iterator[Api]:
    """Bootstrapped, with the users admin and demo; `settings` are of the section api."""
    port, prefix = free_port(), f"e2e-{uuid4().hex}/"
    bus = {"url": nats}
    config = {
        "top": {
            "site_key_file": str(directory / "site.key"),
            "store": {"endpoints": (etcd,), "prefix": f"{prefix}global/"},
            "bus": bus,
        },
        "cell": {"name": "cell1", "store": {"endpoints": (etcd,), "prefix": f"{prefix}cells/cell1/"}, "bus": bus},
        "api": {"host": "127.0.0.1", "port": port, "spool_dir": str(directory), **settings},
    }
    file = directory / "control.toml"
    file.write_text(to_toml(config))
    api = Api(file, port, directory / "api.log", [])
    bootstrap_site(load_settings(file), PASSWORD, DEMO_PASSWORD, "")
    try:
        api.start()
        yield api
    finally:
        api.stop()
