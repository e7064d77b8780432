"""Runs the unmodified `openstack` command and prints what it does like a shell's transcript."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from control.site.errors import SiteError
from control.site.files import CLOUD
from control.site.foreground import tied
from control.site.options import Layout

COMMAND_SECONDS = 120.0
POLL_SECONDS = 0.3
WIDTH = 118


class Shell:
    """Commands as the user of the site's cloud `kilonova`."""

    def __init__(self, layout: Layout, say: Callable[[str], None]) -> None:
        self._say = say
        self._environment = client_environment(os.environ, layout.clouds)

    def openstack(self, *words: str) -> str:
        """Prints command, output and time; returns the output. Raises SiteError when it fails."""
        self._say(f"\n$ openstack {shlex.join(words)}")
        began = time.monotonic()
        output = self._run(words)
        if output:
            self._say(output)
        self._say(f"  ({time.monotonic() - began:.1f} s)")
        return output

    def until(self, accepted: Callable[[str], bool], seconds: float, *words: str) -> str:
        """Repeats a command until its output is accepted and returns that; prints the command and the time once."""
        self._say(f"\n$ until openstack {shlex.join(words)} ...")
        began = time.monotonic()
        while not accepted(output := self._run(words)):
            if time.monotonic() - began > seconds:
                what = f"openstack {shlex.join(words)}"
                raise SiteError(
                    f"{what}: not what is waited for within {seconds:g} s; its last answer:\n{output[-2000:]}"
                )
            time.sleep(POLL_SECONDS)
        self._say(f"  ({time.monotonic() - began:.1f} s)")
        return output

    def try_openstack(self, words: Sequence[str]) -> str:
        """Prints nothing; returns the output, or the complaint."""
        try:
            return self._run(words)
        except SiteError as error:
            return error.message

    def _run(self, words: Sequence[str]) -> str:
        program = Path(sys.executable).parent / "openstack"
        try:
            done = subprocess.run(
                [str(word) for word in tied([program, *words])],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise SiteError(f"{program} is missing: just install") from error
        except subprocess.TimeoutExpired as error:
            raise SiteError(f"openstack {shlex.join(words)} did not end within {COMMAND_SECONDS:g} s") from error
        if done.returncode:
            raise SiteError(f"openstack {shlex.join(words)} failed:\n{(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()


def client_environment(base: Mapping[str, str], clouds: Path) -> dict[str, str]:
    """The caller's environment with this cloud as the only one that the client can mean."""
    kept = {name: value for name, value in base.items() if not name.startswith("OS_")}
    return {**kept, "OS_CLIENT_CONFIG_FILE": str(clouds), "OS_CLOUD": CLOUD, "COLUMNS": str(WIDTH)}
