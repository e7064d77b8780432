"""What an image file is, told by its first bytes, and whether a host may open it."""

import struct
from typing import Final

from schemas.errors import BadRequest

HEAD_BYTES: Final = 64 << 10
"""bytes of the file that `check_format` wants to see"""
QCOW2: Final = b"QFI\xfb"
VERSIONS: Final = (2, 3)
EXTERNAL_DATA_FILE: Final = 1 << 2
"""incompatible feature of version 3: the data lie in another file, named in the header"""
LARGEST: Final = 1 << 62

SIGNATURES: Final = {
    "qcow2": QCOW2,
    "vmdk": b"KDMV",
    "vhdx": b"vhdxfile",
    "vhd": b"conectix",
    "vdi": b"<<< Oracle VM VirtualBox Disk Image >>>",
    "qed": b"QED\x00",
    "luks": b"LUKS\xba\xbe",
}
BOOTABLE: Final = ("qcow2", "raw")


def check_format(declared: str, head: bytes, size: int) -> int | None:
    """The virtual size in bytes, None where it is not known. Raises BadRequest when the file is not of the declared
    format, or would make a host open another file."""
    found = found_format(head)
    if declared == "qcow2":
        if found != "qcow2":
            raise BadRequest(f"Image disk_format is qcow2, but the data is {found or 'not'}: upload a qcow2 file.")
        return _qcow2_size(head)
    if declared == "raw":
        if found is not None:
            raise BadRequest(
                f"Image disk_format is raw, but the data is {found}: set disk_format to {found}, or convert the file."
            )
        return size
    return size if declared == "iso" else None


def found_format(head: bytes) -> str | None:
    """None for whatever bears no known signature, as raw disks do."""
    for name, signature in SIGNATURES.items():
        offset = 64 if name == "vdi" and head[64:68] == b"\x7f\x10\xda\xbe" else 0
        if offset or head.startswith(signature):
            return name
    return None


def _qcow2_size(head: bytes) -> int:
    if len(head) < 72:
        raise BadRequest("The qcow2 header is cut short.")
    version, backing_offset, backing_length = struct.unpack_from(">IQI", head, 4)
    (virtual,) = struct.unpack_from(">Q", head, 24)
    if version not in VERSIONS:
        raise BadRequest(f"qcow2 version {version} is not supported.")
    if backing_offset or backing_length:
        raise BadRequest("The qcow2 image has a backing file; flatten it first: qemu-img convert -O qcow2 IN OUT.")
    if version == 3:
        if len(head) < 104:
            raise BadRequest("The qcow2 header is cut short.")
        (incompatible,) = struct.unpack_from(">Q", head, 72)
        if incompatible & EXTERNAL_DATA_FILE:
            raise BadRequest("The qcow2 image keeps its data in another file; flatten it first with qemu-img convert.")
    if not 0 < virtual < LARGEST:
        raise BadRequest(f"The qcow2 header declares an impossible size: {virtual} bytes.")
    return int(virtual)
