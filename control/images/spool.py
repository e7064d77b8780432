"""An upload on its way: collected in an unnamed file, hashed while it comes, so that nothing large is in memory."""

import asyncio
import errno
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, Final

from attrs import frozen

from control.images.formats import HEAD_BYTES
from control.images.inspection import Findings, Inspection
from schemas.errors import TooLarge, Unavailable
from schemas.image import Facts

PIECE: Final = 1 << 20
"""bytes that are written at once"""


@frozen
class Spooled:
    """`head` is the file's beginning."""

    file: BinaryIO
    head: bytes
    facts: Facts
    findings: Findings


@asynccontextmanager
async def spooled(chunks: AsyncIterator[bytes], limit: int, directory: str) -> AsyncIterator[Spooled]:
    """The file is gone after the block, and after the death of the process. Raises TooLarge beyond `limit` bytes."""
    hashes = (hashlib.sha256(), hashlib.md5(usedforsecurity=False), hashlib.sha512())
    size, head, waiting, inspection = 0, b"", bytearray(), Inspection()
    # Without a buffer a full disk is told by a write, and by nothing later.
    with tempfile.TemporaryFile(dir=directory or None, buffering=0) as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"Denying attempt to upload image larger than {limit} bytes.")
            waiting += chunk
            if len(waiting) >= PIECE:
                head = head or bytes(waiting[:HEAD_BYTES])
                await asyncio.to_thread(_take, file, hashes, inspection, waiting)
                waiting = bytearray()
        head = head or bytes(waiting[:HEAD_BYTES])
        await asyncio.to_thread(_take, file, hashes, inspection, waiting)
        file.seek(0)
        sha256, md5, sha512 = (h.hexdigest() for h in hashes)
        yield Spooled(file, head, Facts(size, sha256, md5, sha512), await asyncio.to_thread(inspection.finish))


def _take(file: BinaryIO, hashes: tuple[Any, ...], inspection: Inspection, data: bytearray) -> None:
    inspection.take(bytes(data))
    for h in hashes:
        h.update(data)
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise Unavailable("The disk for uploads is full: make room, or set api.spool_dir to another one.") from error
