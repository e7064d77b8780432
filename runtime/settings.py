"""Settings from one TOML file, overridden by environment variables `KILONOVA_<SECTION>_<FIELD>`."""

import tomllib
from pathlib import Path

import typed_settings as ts
from typed_settings.exceptions import TsError

from schemas.errors import KilonovaError
from schemas.settings import Settings


class BadSettingsError(KilonovaError):
    """The configuration cannot be used; says which setting and why."""


def load_settings(path: Path | None) -> Settings:
    """Raises BadSettingsError with what is wrong and where."""
    if path is not None and not path.is_file():
        raise BadSettingsError(f"no configuration file at {path}")
    try:
        settings: Settings = ts.load_settings(
            Settings,
            [
                ts.FileLoader(
                    files=[path] if path else [], formats={"*.toml": ts.TomlFormat(section=None)}, env_var=None
                ),
                ts.EnvLoader(prefix="KILONOVA_"),
            ],
            base_dir=path.parent if path else Path(),
        )
    except (TsError, tomllib.TOMLDecodeError, ValueError, TypeError) as error:
        raise BadSettingsError(f"configuration {path or 'from the environment'}: {_said(error)}") from error
    return settings


def _said(error: BaseException) -> str:
    """What is wrong, without the layers of loading that it was found in."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_said(part) for part in error.exceptions)
    return str(error)
