"""Real things that contract tests run against, each made once a session."""

import os
import subprocess
from pathlib import Path

import pytest
from driver_labs import missing_for_libvirt

SCRIPTS = Path(__file__).parents[2] / "control" / "site" / "scripts"


@pytest.fixture(scope="session")
def libvirt_guest() -> Path:
    """libvirtd runs, and here is the test guest's disk. Both stay for the next session: they are slow to make."""
    missing = missing_for_libvirt()
    if missing:
        pytest.skip(missing)
    subprocess.run([SCRIPTS / "start-libvirt"], check=True)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    out = cache / "kilonova" / "test-guest"
    subprocess.run([SCRIPTS / "build-guest", out], check=True)
    return out / "guest.qcow2"
