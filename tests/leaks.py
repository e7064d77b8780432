"""Secrets that the tests use, looked for in everything that the product writes to its logs meanwhile."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PLANTED: Final = "planted-Gr8-secret"
"""Part of passwords and user data that tests send and that no log may hold"""

PATTERNS: Final = {
    "a token": re.compile(r"gAAAAA[A-Za-z0-9_-]{20,}"),
    "the hash of a password": re.compile(r"\$argon2id?\$v="),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a planted secret": re.compile(re.escape(PLANTED)),
}


def leaks(text: str) -> list[str]:
    """What kinds of secrets the text holds, each with a little of what stands before it."""
    found = ((kind, pattern.search(text)) for kind, pattern in PATTERNS.items())
    return [f"{kind} after {text[max(0, m.start() - 80) : m.start()]!r}" for kind, m in found if m]


def leaks_in_logs(directory: Path) -> Iterator[str]:
    """One line for each log file below the directory that holds a secret."""
    for file in directory.rglob("*.log"):
        if file.is_file():
            for leak in leaks(file.read_text(errors="replace")):
                yield f"{file}: {leak}"
