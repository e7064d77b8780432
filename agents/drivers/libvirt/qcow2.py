"""What a qcow2 header says before QEMU is let near the file. Pure."""

import struct
from typing import Final

from attrs import frozen

from schemas.errors import ImageUnusable

HEADER_BYTES: Final = 104
_MAGIC: Final = b"QFI\xfb"
_EXTERNAL_DATA_FILE: Final = 1 << 2


@frozen
class Qcow2Header:
    version: int
    virtual_size: int
    """bytes"""


def read_header(head: bytes) -> Qcow2Header:
    """Raises ImageUnusable for what is not qcow2, and for an image that names another file: QEMU would open that file
    of the host, whatever it is, and show it to the guest.
    """
    if len(head) < 72 or head[:4] != _MAGIC:
        raise ImageUnusable("the image is not qcow2")
    version, backing_offset, _, _, virtual_size = struct.unpack_from(">IQIIQ", head, 4)
    if version not in (2, 3):
        raise ImageUnusable(f"the image is qcow2 of the unknown version {version}")
    if backing_offset:
        raise ImageUnusable("the image names a backing file, which is not allowed: flatten it with qemu-img convert")
    if version == 3 and len(head) >= 80 and struct.unpack_from(">Q", head, 72)[0] & _EXTERNAL_DATA_FILE:
        raise ImageUnusable("the image keeps its data in another file, which is not allowed: use qemu-img convert")
    return Qcow2Header(version, virtual_size)
