"""The boot sector of kvm_probe.s, assembled; a test compares the two.

It writes a letter of STAGES to the debug console as it passes each, and ends QEMU with EXIT_STATUS.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EXIT_PORT: Final = 0xF4
CONSOLE_PORT: Final = 0xE9
EXIT_STATUS: Final = 0x10 << 1 | 1
"""how isa-debug-exit ends QEMU when it is sent 0x10"""

STAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "r": "real mode",
        "p": "protected mode without paging",
        "b": "the way back to real mode",
        "l": "long mode with paging",
        "i": "an interrupt in long mode",
    }
)
"""letter -> what had been run when it was written, in order"""

_CODE: Final = (
    "fafcea077c0000b800008ed88ec08ed0bc007cfbcd12fab072e6e9660f0116c67d660f011ecc7d0f20c00c010f22c066"
    "ea377c0000080066b810008ed88ec08ed08ee08ee8bc007000009c6a0868537c0000cf6a08685b7c0000cbcd30be007c"
    "0000bf00600000b980000000f3a5b070e6e9ea797c00001800b820008ed88ec08ed00f20c024fe0f22c0ea8f7c0000b8"
    "00008ed88ec08ed0bc007c660f011edc7dfbcd12fab062e6e90f20c00c010f22c066eab97c0000080066b810008ed88e"
    "c08ed0bf001000000f22df31c0b9000c0000f3abc7050010000003200000c7050020000003300000c705003000008300"
    "00000f20e00c200f22e0b9800000c00f3280cc010f300f20c00d000000800f22c0ea187d0000280066b810008ed88ec0"
    "8ed0bc007000000f011c25d27d0000cd21b06ce6e9b011e620b020e621b004e621b001e621b0fee621fbf4803c25e27d"
    "00000074f5b069e6e9b010e6f4f4ebfdfe0425e27d0000b020e62048cfcf6d7d0800008e0000607d2800008e00000000"
    "0000000000006b7d2800008e000000000000000000000000000000000000ffff0000009acf00ffff00000092cf00ffff"
    "0000009a0000ffff00000092000000000000009a20002f00967d00008701ee7b00001f02767b000000000000ff03"
)
BOOT_SECTOR: Final = bytes.fromhex(_CODE).ljust(510, b"\0") + b"\x55\xaa"
