"""What a wait of the demo that ran out prints.

A guest stood still, and after 120 s the demo said "not within 120 s; the last answer:" and nothing more.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from control.site import evidence as room
from control.site.evidence import evidence, without_command_line
from control.site.options import Layout

UUID = "743ed999-80a0-4f9d-a30b-fc4a12db66b1"
SHOWN = {
    "id": UUID,
    "status": "ERROR",
    "OS-EXT-STS:task_state": None,
    "OS-EXT-STS:power_state": 3,
    "OS-EXT-SRV-ATTR:host": "node-1",
    "OS-EXT-SRV-ATTR:instance_name": "instance-743ed9",
    "fault": {"code": 500, "message": "KVM internal error. Suberror: 1"},
}
QEMU_LOG = "2026: starting up\nPATH=/bin \\\n-name a \\\n-msg timestamp=on\nKVM internal error. Suberror: 1\nEAX=0\n"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(room, "QEMU_LOGS", tmp_path)
    monkeypatch.setattr(room, "kilonova_command", lambda: tmp_path / "nothing")
    (tmp_path / "instance-743ed9.log").write_text(QEMU_LOG)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "agent.log").write_text('{"event": "command failed", "verb": "spawn"}\n')
    return Layout(tmp_path)


def test_all_that_is_known_is_shown_and_what_to_type(layout: Layout) -> None:
    def ask(words: Sequence[str]) -> str:
        return json.dumps(SHOWN) if words[0] == "server" else "\n".join(f"console {n}" for n in range(40))

    shown = evidence("kilonova-demo", layout, ask)
    for part in (
        "status: ERROR",
        "task: null",
        "host: node-1",
        '"message": "KVM internal error. Suberror: 1"',
        "console 39",
        '"command failed"',
        f"{layout.root}/instance-743ed9.log\n  2026: starting up\n  KVM internal error. Suberror: 1\n  EAX=0",
        f"kilonova story {UUID} --config",
        "just logs agent",
        "conductor.log\n  it cannot be read",
    ):
        assert part in shown, shown
    assert "console 10\n" not in shown


def test_what_cannot_be_had_says_why(layout: Layout) -> None:
    shown = evidence("kilonova-demo", layout, lambda _: "the API does not answer")
    assert "--- server\n  the API does not answer" in shown
    assert "just logs agent" in shown


def test_a_qemu_logs_arguments_are_left_out() -> None:
    shown = without_command_line(QEMU_LOG.replace("PATH=/bin \\\n", ""))
    assert shown.splitlines() == ["2026: starting up", "KVM internal error. Suberror: 1", "EAX=0"]
