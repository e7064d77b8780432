"""Files of the site that are for its owner alone."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Readable by the owner alone, from the first byte on; whole or as it was before, whatever ends us."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def private(path: str, flags: int) -> int:
    """An opener for `open`."""
    return os.open(path, flags, 0o600)
