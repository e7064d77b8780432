"""Nova's matrix of actions and states, and the texts of its refusals."""

import pytest
from unit_records import NOW, UUID, instance

from control.servers.states import RULES, check_allowed
from schemas.errors import Locked, WrongState

VM_STATES = ("building", "active", "paused", "suspended", "stopped", "rescued", "resized", "shelved", "error")

TASKS = (
    None,
    "scheduling",
    "spawning",
    "powering-on",
    "powering-off",
    "rebooting",
    "reboot_pending",
    "reboot_started",
    "rebooting_hard",
    "pausing",
    "unpausing",
    "suspending",
    "resuming",
    "deleting",
    "migrating",
)

ALLOWED_IN = {
    "start": {"stopped"},
    "stop": {"active", "error"},
    "reboot-soft": {"active"},
    "reboot-hard": {"active", "stopped", "paused", "suspended", "error"},
    "pause": {"active"},
    "unpause": {"paused"},
    "suspend": {"active"},
    "resume": {"suspended"},
}

ALLOWED_DURING = {
    "start": {None},
    "stop": {None},
    "reboot-soft": {None},
    "reboot-hard": {
        None,
        "rebooting",
        "reboot_pending",
        "reboot_started",
        "rebooting_hard",
        "pausing",
        "unpausing",
        "suspending",
        "resuming",
    },
    "pause": {None},
    "unpause": {None},
    "suspend": {None},
    "resume": {None},
}

BEGINS = {
    "start": "powering-on",
    "stop": "powering-off",
    "reboot-soft": "rebooting",
    "reboot-hard": "rebooting_hard",
    "pause": "pausing",
    "unpause": "unpausing",
    "suspend": "suspending",
    "resume": "resuming",
}
WORDS = {action: action.partition("-")[0] for action in BEGINS}


def test_every_action_is_in_these_tables() -> None:
    assert set(RULES) == set(ALLOWED_IN) == set(ALLOWED_DURING) == set(BEGINS) == set(WORDS)


@pytest.mark.parametrize("vm_state", VM_STATES)
@pytest.mark.parametrize("action", ALLOWED_IN)
def test_the_vm_state_decides(action: str, vm_state: str) -> None:
    server = instance(vm_state=vm_state)
    if vm_state in ALLOWED_IN[action]:
        assert check_allowed(action, server, ignore_lock=False).task == BEGINS[action]
        return
    with pytest.raises(WrongState) as refused:
        check_allowed(action, server, ignore_lock=False)
    expected = f"Cannot '{WORDS[action]}' instance {UUID} while it is in vm_state {vm_state}"
    assert (refused.value.message, refused.value.code) == (expected, 409)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("action", ALLOWED_DURING)
def test_then_the_task_does(action: str, task: str | None) -> None:
    server = instance(vm_state=min(ALLOWED_IN[action]), task_state=task)
    if task in ALLOWED_DURING[action]:
        check_allowed(action, server, ignore_lock=False)
        return
    with pytest.raises(WrongState) as refused:
        check_allowed(action, server, ignore_lock=False)
    assert refused.value.message == f"Cannot '{WORDS[action]}' instance {UUID} while it is in task_state {task}"


@pytest.mark.parametrize("action", RULES)
def test_what_was_never_launched_can_do_nothing(action: str) -> None:
    server = instance(vm_state=min(ALLOWED_IN[action]), launched=None)
    with pytest.raises(WrongState) as refused:
        check_allowed(action, server, ignore_lock=False)
    assert refused.value.message == f"Cannot '{WORDS[action]}' instance {UUID} while it is in launched_at None"


def test_a_lock_comes_before_everything_and_binds_no_admin() -> None:
    server = instance(locked_by="u2", launched=NOW, vm_state="building")
    with pytest.raises(Locked) as refused:
        check_allowed("stop", server, ignore_lock=False)
    assert (refused.value.message, refused.value.code) == (f"Instance {UUID} is locked", 409)
    with pytest.raises(WrongState):
        check_allowed("stop", server, ignore_lock=True)
