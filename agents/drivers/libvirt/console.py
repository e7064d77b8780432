"""A guest's serial console as virtlogd keeps it: `console.log` and, when that grew full, `.0`, `.1` and so on."""

from collections.abc import Iterator
from pathlib import Path


def console_tail(log: Path, lines: int | None, limit: int) -> str:
    """The last `lines` lines of the last `limit` bytes, across rotated files. Blocking."""
    kept = b""
    for path in _newest_first(log):
        kept = _tail(path, limit - len(kept)) + kept
        if len(kept) >= limit or (lines is not None and kept.count(b"\n") > lines):
            break
    text = kept.decode(errors="replace")
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""


def _newest_first(log: Path) -> Iterator[Path]:
    number = 0
    path = log
    while path.exists():
        yield path
        path = log.with_name(f"{log.name}.{number}")
        number += 1


def _tail(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - limit))
        return file.read(limit)
