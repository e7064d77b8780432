"""`kilonova config show`: what is configured, defaults and environment included, as the TOML that would say so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict

from control.site.files import to_toml
from schemas.settings import Settings

SECRET: Final = frozenset({"password"})
HIDDEN: Final = "***"


def show_config(settings: Settings) -> str:
    return to_toml(_plain(asdict(settings)))


def _plain(section: Mapping[str, Any]) -> dict[str, Any]:
    """Without what TOML cannot say; passwords are not shown, only that there is one."""
    shown: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            shown[name] = _plain(value)
        elif value is not None:
            shown[name] = HIDDEN if name in SECRET and value else str(value) if isinstance(value, Path) else value
    return shown
