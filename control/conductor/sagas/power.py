"""start, stop, reboot, pause, suspend and back: one command each; a failure leaves the server as it was, with a fault.

saga          step        undo
start         power-on    none
stop          power-off   none
reboot-soft   reboot      none
reboot-hard   reboot      none
pause         pause       none
unpause       unpause     none
suspend       suspend     none
resume        resume      none
"""

from collections.abc import Callable
from datetime import datetime

from control.conductor.sagas.table import Decision, Saga, Step, Succeeded, revert, settle
from schemas.operation import Operation
from schemas.server import Instance


def _rests(vm_state: str) -> Callable[[Operation, Instance, Succeeded, datetime], Decision]:
    def done(operation: Operation, instance: Instance, outcome: Succeeded, now: datetime) -> Decision:
        return settle(operation, instance, outcome.state, vm_state, now)

    return done


START = Saga("start", Step("power-on", "power-on", lambda s: s.command_timeout), _rests("active"), revert)

STOP = Saga(
    "stop",
    Step(
        "power-off",
        "power-off",
        lambda s: s.command_timeout + s.stop_timeout,
        lambda _, s: {"timeout": s.stop_timeout},
    ),
    _rests("stopped"),
    revert,
)

REBOOT_SOFT = Saga(
    "reboot-soft",
    Step(
        "reboot",
        "reboot",
        lambda s: s.command_timeout + s.stop_timeout,
        lambda _, s: {"hard": False, "timeout": s.stop_timeout},
    ),
    _rests("active"),
    revert,
)

REBOOT_HARD = Saga(
    "reboot-hard",
    Step("reboot", "reboot", lambda s: s.command_timeout, lambda _, __: {"hard": True, "timeout": 0.0}),
    _rests("active"),
    revert,
)

PAUSE = Saga("pause", Step("pause", "pause", lambda s: s.command_timeout), _rests("paused"), revert)
UNPAUSE = Saga("unpause", Step("unpause", "unpause", lambda s: s.command_timeout), _rests("active"), revert)
SUSPEND = Saga("suspend", Step("suspend", "suspend", lambda s: s.suspend_timeout), _rests("suspended"), revert)
RESUME = Saga("resume", Step("resume", "resume", lambda s: s.suspend_timeout), _rests("active"), revert)
