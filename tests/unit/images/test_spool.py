"""An upload on its way to the disk."""

import hashlib
import io
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.images.spool import PIECE, spooled
from schemas.errors import TooLarge, Unavailable


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("parts", [(), (b"",), (b"a", b"b"), (b"x" * PIECE, b"y"), (b"z" * (3 * PIECE + 1),)])
async def test_what_came_in_is_there_with_its_hashes(parts: tuple[bytes, ...], tmp_path: Path) -> None:
    whole = b"".join(parts)
    async with spooled(chunks(*parts), 1 << 30, str(tmp_path)) as spool:
        assert spool.file.read() == whole
        assert spool.facts.size == len(whole)
        assert spool.facts.sha256 == hashlib.sha256(whole).hexdigest()
        assert spool.facts.sha512 == hashlib.sha512(whole).hexdigest()
        assert spool.facts.md5 == hashlib.md5(whole).hexdigest()
        assert whole.startswith(spool.head)
        assert os.listdir(tmp_path) == [], "the file has no name"


async def test_too_much_is_cut_off() -> None:
    with pytest.raises(TooLarge):
        async with spooled(chunks(b"x" * 10, b"y"), 10, ""):
            pass


async def test_a_full_disk_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a 500: closing the file tried to write once more, and that error hid ours."""

    def on_full_disk(**more: Any) -> io.FileIO | io.BufferedRandom:
        return open("/dev/full", "r+b", buffering=more.get("buffering", -1))

    monkeypatch.setattr(tempfile, "TemporaryFile", on_full_disk)
    with pytest.raises(Unavailable, match="disk for uploads is full"):
        async with spooled(chunks(b"x" * 100), 1 << 20, ""):
            pass
