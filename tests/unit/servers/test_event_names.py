"""The names of events in a server's history."""

import pytest

from control.servers.history import ACTIONS


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("build", "conductor_schedule_and_build_instances"),
        ("boot", "compute__do_build_and_run_instance"),
        ("delete", "compute_terminate_instance"),
        ("start", "compute_start_instance"),
        ("stop", "compute_stop_instance"),
        ("reboot-soft", "compute_reboot_instance"),
        ("reboot-hard", "compute_reboot_instance"),
        ("pause", "compute_pause_instance"),
        ("unpause", "compute_unpause_instance"),
        ("suspend", "compute_suspend_instance"),
        ("resume", "compute_resume_instance"),
    ],
)
def test_events_have_novas_names(kind: str, event: str) -> None:
    """A boot that found no host bore the event of a compute service, which never saw it."""
    assert ACTIONS[kind][1] == event
