"""Which version of the API a request speaks. All are 2.x, so a version is the number after the point."""

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from schemas.errors import BadRequest, NotAcceptable
from schemas.numbers import whole_number

MIN: Final = 1
MAX: Final = 100

HEADER: Final = "openstack-api-version"
OLD_HEADER: Final = "x-openstack-nova-api-version"
_SERVICE: Final = "compute"
_FORM: Final = re.compile(r"^([1-9]\d*)\.([1-9]\d*|0)$")

Headers = list[tuple[bytes, bytes]]


@frozen
class Spoken:
    """`legacy` is the form of `/v2`: version 2.1 without version headers, tolerant of unknown body keys."""

    minor: int = MIN
    legacy: bool = False

    @property
    def headers(self) -> Headers:
        """What the answer says about versions."""
        return [] if self.legacy else _HEADERS[self.minor]


def text(minor: int) -> str:
    return f"2.{minor}"


_HEADERS: Final[dict[int, Headers]] = {
    n: [
        (b"openstack-api-version", f"{_SERVICE} {text(n)}".encode()),
        (b"x-openstack-nova-api-version", text(n).encode()),
        (b"vary", b"OpenStack-API-Version"),
        (b"vary", b"X-OpenStack-Nova-API-Version"),
    ]
    for n in range(MIN, MAX + 1)
}


def negotiate(headers: Mapping[str, str]) -> Spoken:
    """Raises BadRequest for what is no version, NotAcceptable for one that is not served."""
    asked = _asked(headers)
    if asked is None:
        return Spoken(MIN)
    if asked == "latest":
        return Spoken(MAX)
    match = _FORM.match(asked)
    if match is None:
        raise BadRequest(f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum.")
    major, minor = whole_number(match[1]), whole_number(match[2])
    if major != 2 or minor is None or not MIN <= minor <= MAX:
        raise NotAcceptable(
            f"Version {asked} is not supported by the API. Minimum is {text(MIN)} and maximum is {text(MAX)}."
        )
    return Spoken(minor)


def _asked(headers: Mapping[str, str]) -> str | None:
    """The new header wins; it may name several services, the last entry of ours counts."""
    for entry in reversed(headers.get(HEADER, "").split(",")):
        service, _, version = entry.strip().partition(" ")
        if service.lower() == _SERVICE:
            return version.strip()
    old = headers.get(OLD_HEADER)
    return old.rsplit(",", 1)[-1].strip() if old is not None else None
