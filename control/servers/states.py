"""Which action is allowed in which state (Nova's matrix) and what task it begins."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

from schemas.errors import Locked, WrongState
from schemas.server import Instance

ANY: Final = frozenset({"*"})


@frozen
class Rule:
    """`vm` and `tasks`: the vm_states and task_states it may begin in; None in `tasks` is a server at rest."""

    vm: frozenset[str]
    tasks: frozenset[str | None]
    task: str
    """the task_state that it begins"""
    word: str
    """the action's name in texts and in os-instance-actions"""


_REBOOTABLE: Final = frozenset(
    {
        None,
        "rebooting",
        "reboot_pending",
        "reboot_started",
        "resuming",
        "rebooting_hard",
        "unpausing",
        "pausing",
        "suspending",
    }
)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "start": Rule(frozenset({"stopped"}), frozenset({None}), "powering-on", "start"),
        "stop": Rule(frozenset({"active", "error"}), frozenset({None}), "powering-off", "stop"),
        "reboot-soft": Rule(frozenset({"active"}), frozenset({None}), "rebooting", "reboot"),
        "reboot-hard": Rule(
            frozenset({"active", "stopped", "paused", "suspended", "error"}), _REBOOTABLE, "rebooting_hard", "reboot"
        ),
        "pause": Rule(frozenset({"active"}), frozenset({None}), "pausing", "pause"),
        "unpause": Rule(frozenset({"paused"}), frozenset({None}), "unpausing", "unpause"),
        "suspend": Rule(frozenset({"active"}), frozenset({None}), "suspending", "suspend"),
        "resume": Rule(frozenset({"suspended"}), frozenset({None}), "resuming", "resume"),
    }
)


def check_allowed(action: str, instance: Instance, *, ignore_lock: bool) -> Rule:
    """Raises Locked or WrongState with the texts that clients match on."""
    rule = RULES[action]
    if instance.locked and not ignore_lock:
        raise Locked(f"Instance {instance.uuid} is locked")
    if instance.vm_state not in rule.vm:
        raise _refused(rule, instance, "vm_state", instance.vm_state)
    if instance.task_state not in rule.tasks:
        raise _refused(rule, instance, "task_state", instance.task_state)
    if instance.launched is None:
        raise _refused(rule, instance, "launched_at", None)
    return rule


def _refused(rule: Rule, instance: Instance, attribute: str, value: str | None) -> WrongState:
    return WrongState(f"Cannot '{rule.word}' instance {instance.uuid} while it is in {attribute} {value}")
