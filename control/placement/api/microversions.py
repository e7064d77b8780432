"""Which version of the API a request speaks. All are 1.x, so a version is the number after the point."""

import re
from collections.abc import Mapping
from typing import Final

from schemas.errors import BadRequest, NotAcceptable
from schemas.numbers import whole_number

MIN: Final = 0
MAX: Final = 39
HEADER: Final = "openstack-api-version"
_SERVICE: Final = "placement"
_FORM: Final = re.compile(r"\A(-?\d+)\.(-?\d+)\Z")

Headers = list[tuple[bytes, bytes]]


def text(minor: int) -> str:
    return f"1.{minor}"


SPOKEN: Final[dict[int, Headers]] = {
    n: [(b"openstack-api-version", f"{_SERVICE} {text(n)}".encode()), (b"vary", b"openstack-api-version")]
    for n in range(MIN, MAX + 1)
}
"""What an answer says about the version that it is in."""

_KNOWN: Final = {None: MIN, "placement latest": MAX} | {f"{_SERVICE} {text(n)}": n for n in range(MIN, MAX + 1)}


def negotiate(headers: Mapping[str, str]) -> int:
    """Raises BadRequest for what is no version, NotAcceptable for one that is not served."""
    asked = headers.get(HEADER)
    known = _KNOWN.get(asked)
    if known is not None or asked is None:
        return known or MIN
    for entry in reversed(asked.split(",")):  # it may name several services; the last entry of ours counts
        service, _, version = entry.strip().partition(" ")
        if service.lower() == _SERVICE and version:
            return _parse(version.strip())
    return MIN


def _parse(version: str) -> int:
    if version == "latest":
        return MAX
    match = _FORM.match(version)
    if match is None:
        raise BadRequest(f"Invalid microversion: invalid version string: {version}")
    major, minor = whole_number(match[1]), whole_number(match[2])
    if major != 1 or minor is None or not MIN <= minor <= MAX:
        raise NotAcceptable(f"Invalid microversion: Unacceptable version header: {version}")
    return minor
