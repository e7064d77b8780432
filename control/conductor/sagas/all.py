"""Every saga of a cell by its operation's kind."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from control.conductor.sagas.boot import BOOT
from control.conductor.sagas.delete import DELETE
from control.conductor.sagas.power import (
    PAUSE,
    REBOOT_HARD,
    REBOOT_SOFT,
    RESUME,
    START,
    STOP,
    SUSPEND,
    UNPAUSE,
)
from control.conductor.sagas.table import Saga

SAGAS: Final[Mapping[str, Saga]] = MappingProxyType(
    {saga.kind: saga for saga in (BOOT, DELETE, START, STOP, REBOOT_SOFT, REBOOT_HARD, PAUSE, UNPAUSE, SUSPEND, RESUME)}
)
