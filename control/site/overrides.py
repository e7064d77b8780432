"""Settings of the environment, `KILONOVA_<SECTION>_<FIELD>`, that the site's processes were started with.

What is kept of a value is its hash: it may be a password.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from attrs import fields

from control.site.private import write_private
from schemas.settings import Settings

Overrides = Mapping[str, str]
"""hash of its value by name of the variable"""

_SECTIONS: Final = tuple(f"KILONOVA_{section.name.upper()}" for section in fields(Settings))


def overrides_of(environment: Mapping[str, str]) -> Overrides:
    """Those among its variables that the processes read."""
    return {
        name: hashlib.sha256(value.encode()).hexdigest()
        for name, value in sorted(environment.items())
        if any(name == section or name.startswith(f"{section}_") for section in _SECTIONS)
    }


def differing(before: Overrides, now: Overrides) -> list[str]:
    """The names of those that were added, changed or taken away."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


class StartedWith:
    """The overrides of each running process, by role."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, role: str) -> Overrides | None:
        """None: unknown."""
        return self._read().get(role)

    def note(self, roles: Iterable[str], overrides: Overrides) -> None:
        """They are being started with these."""
        write_private(self._file, json.dumps(self._read() | dict.fromkeys(roles, overrides), indent=2) + "\n")

    def _read(self) -> dict[str, Overrides]:
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
