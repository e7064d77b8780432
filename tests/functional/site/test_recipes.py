"""Recipes of the justfile as a shell, a supervisor or a closed terminal starts and ends them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ports import free_port

from control.site.http import answers

ROOT = Path(__file__).parents[3]
JUST = Path(sys.executable).parent / "just"
INSTALL = Path("control/site/scripts/install")

PIP = """\
#!/bin/bash
# Stands for the environment's Python: notes when it installs.
cd "$(dirname "$0")/../.."
echo "begin ${!#}" >>pip.log
sleep 0.3
echo "end ${!#}" >>pip.log
"""


def wait_until(met: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def children_of(pid: int) -> set[int]:
    """All below it that live, by pid."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                parents.setdefault(int(fields[1]), []).append(int(process.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def lives(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not JUST.exists(), reason="just is not installed")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_recipe_runs_ends_with_just(number: signal.Signals) -> None:
    """`just placement` that was ended left its placement and its etcd running: the shell between them passed nothing
    on, and a killed `just` can pass nothing on."""
    port = free_port()
    just = subprocess.Popen([JUST, "--no-deps", "placement", "--port", str(port)], cwd=ROOT)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/"), 60, "placement answers")
        running = children_of(just.pid)
        assert len(running) >= 2  # placement and its etcd
        just.send_signal(number)
        just.wait(30)
        wait_until(lambda: not any(map(lives, running)), 20, f"{running} end")
    finally:
        just.kill()
        just.wait()


@pytest.mark.skipif(not JUST.exists(), reason="just is not installed")
def test_what_a_recipe_runs_ends_with_its_terminal() -> None:
    """A closed terminal sends SIGHUP to all of its foreground processes, Ctrl-C SIGINT."""
    for number in (signal.SIGHUP, signal.SIGINT):
        port = free_port()
        command = [JUST, "--no-deps", "placement", "--port", str(port)]
        just = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/"), 60, "placement answers")  # noqa: B023
            running = children_of(just.pid)
            os.killpg(just.pid, number)
            just.wait(30)
            wait_until(lambda: not any(map(lives, running)), 20, f"{running} end")  # noqa: B023
        finally:
            just.kill()
            just.wait()


def test_a_site_of_a_bench_ends_with_a_bench_that_is_killed(tmp_path: Path) -> None:
    """No `finally` runs then."""
    program = (
        "import time\nfrom pathlib import Path\nfrom control.site.processes import Processes\n"
        f"site = Processes(Path({str(tmp_path / 'p.json')!r}), Path({str(tmp_path)!r}), tied_to_us=True)\n"
        "print(site.start('one', ['sleep', '600'], {}).pid, flush=True)\ntime.sleep(600)\n"
    )
    bench = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert bench.stdout
    pid = int(bench.stdout.readline())
    assert lives(pid)
    bench.kill()
    bench.wait()
    wait_until(lambda: not lives(pid), 10, "its process ends")


def test_recipes_side_by_side_install_once(tmp_path: Path) -> None:
    """Several `just placement` in a fresh clone installed into one .venv at the same time and broke each other."""
    (tmp_path / INSTALL).parent.mkdir(parents=True)
    shutil.copy(ROOT / INSTALL, tmp_path / INSTALL)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP)
    python.chmod(0o755)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("a\n")
    (tmp_path / "pyproject.toml").write_text("b\n")

    recipes = [subprocess.Popen([tmp_path / INSTALL], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    told = [recipe.communicate(timeout=60)[1] for recipe in recipes]
    assert [recipe.returncode for recipe in recipes] == [0] * 4
    done = (tmp_path / "pip.log").read_text().splitlines()
    assert done == ["begin requirements/dev.txt", "end requirements/dev.txt", "begin .", "end ."]
    assert sum("waiting for another recipe's installation" in text for text in told) == 3
    assert sorted(p.name for p in (tmp_path / ".venv" / "installed").iterdir()) == ["project", "python-packages"]
