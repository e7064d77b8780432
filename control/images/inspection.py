"""What the bytes of an image are, found by reading all of them: `oslo_utils`' inspectors, with Glance's defaults.

Source: glance `[image_format] require_image_format_match = true`, `vmdk_allowed_types = streamOptimized,
monolithicSparse`, `gpt_safety_checks_nonfatal = mbr`. The inspectors' own checks are those of nova and cinder too: no
backing file, no external data file, no unknown feature, no extent elsewhere.
"""

import logging
from typing import Final

from attrs import frozen
from oslo_utils.imageutils import format_inspector

from schemas.errors import BadRequest

# It logs parts of what it reads, at any length; what it finds is in the answer.
logging.getLogger(format_inspector.__name__).setLevel(logging.CRITICAL)

ARCHIVES: Final = frozenset({"compressed", "docker", "ova"})
"""container formats whose bytes are an archive with the disk in it"""
_PLAIN: Final = (frozenset[str](), frozenset({"gpt"}))
"""A disk without a format of its own, with or without a partition table"""
ALLOWED: Final[dict[str, tuple[frozenset[str], ...]]] = {
    **dict.fromkeys(("raw", "ploop", "ami", "ari", "aki"), _PLAIN),
    **{name: (frozenset({name}),) for name in ("qcow2", "vhd", "vhdx", "vmdk", "vdi")},
    "iso": (frozenset({"iso"}), frozenset({"iso", "gpt"})),
}
"""by declared disk format: the sets of formats that may be found together"""
MAY_FAIL: Final = frozenset({"gpt"})
"""whose checks are not fatal: a master boot record may be of any kind of disk"""


PIECE: Final = 32 << 10
"""bytes that inspectors are given at once: one piece may say where in the next ones they must look"""


@frozen
class Findings:
    formats: frozenset[str]
    """empty for what bears no known signature, as raw disks do"""
    unsafe: dict[str, str]
    """by format: why a host must not open it"""
    virtual: dict[str, int]
    """by format: the size in bytes that a guest would see"""


class Inspection:
    """Takes the bytes in any portions, in their order. It blocks for as long as that takes: call it in a thread."""

    def __init__(self) -> None:
        self._inspectors = {name: make() for name, make in format_inspector.ALL_FORMATS.items() if name != "raw"}
        self._failed: dict[str, str] = {}

    def take(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            self._take(data[start : start + PIECE])

    def _take(self, data: bytes) -> None:
        for name, inspector in self._inspectors.items():
            if name not in self._failed:
                try:
                    inspector.eat_chunk(data)
                except Exception as error:  # an inspector may raise anything on bytes that are not of its format
                    self._failed[name] = str(error) or type(error).__name__

    def finish(self) -> Findings:
        """After the last byte."""
        found = []
        unsafe: dict[str, str] = {}
        virtual: dict[str, int] = {}
        for name, inspector in self._inspectors.items():
            try:
                inspector.finish()
                if not inspector.format_match:
                    continue
            except Exception:  # as above: what cannot be read as this format is not of it
                continue
            found.append(name)
            if name in self._failed:
                unsafe[name] = self._failed[name]
                continue
            try:
                virtual[name] = int(inspector.virtual_size)
                inspector.safety_check()
            except format_inspector.SafetyCheckFailed as error:
                unsafe[name] = "; ".join(map(str, error.failures.values()))
            except Exception as error:  # as above
                unsafe[name] = str(error) or type(error).__name__
        return Findings(frozenset(found), unsafe, virtual)


def require_declared(findings: Findings, disk_format: str, container_format: str) -> int | None:
    """The virtual size in bytes, None where the format does not say.

    Raises:
        BadRequest: The bytes are of another format than declared, or a host must not open them.
    """
    allowed = _PLAIN if container_format in ARCHIVES else ALLOWED.get(disk_format, _PLAIN)
    if findings.formats not in allowed:
        found = " and ".join(sorted(findings.formats)) or "of no known format"
        raise BadRequest(
            f"Image disk_format is {disk_format} and container_format {container_format}, but the data is {found}: "
            "declare what it is, or convert the file."
        )
    for name in sorted(findings.formats - MAY_FAIL):
        if name in findings.unsafe:
            raise BadRequest(f"The {name} image cannot be used safely: {findings.unsafe[name]}")
    return findings.virtual.get(disk_format)
