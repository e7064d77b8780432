"""Negotiation as the API reference says: two headers, `latest`, 400, 406."""

import pytest

from control.compute.microversions import MAX, Spoken, negotiate, text
from schemas.errors import BadRequest, NotAcceptable

NEW, OLD = "openstack-api-version", "x-openstack-nova-api-version"


@pytest.mark.parametrize(
    ("headers", "minor"),
    [
        ({}, 1),
        ({NEW: "compute 2.26"}, 26),
        ({OLD: "2.26"}, 26),
        ({NEW: "compute 2.26", OLD: "2.3"}, 26),
        ({NEW: "volume 3.10", OLD: "2.3"}, 3),
        ({NEW: "volume 3.10, compute 2.9"}, 9),
        ({NEW: "compute latest"}, MAX),
        ({OLD: "latest"}, MAX),
        ({NEW: f"compute {text(MAX)}"}, MAX),
        ({NEW: "volume 3.10"}, 1),
    ],
)
def test_a_version_is_agreed_on(headers: dict[str, str], minor: int) -> None:
    assert negotiate(headers) == Spoken(minor)


@pytest.mark.parametrize("version", ["2", "2.x", "v2.1", "2.01", "two", ""])
def test_what_is_no_version_is_a_bad_request(version: str) -> None:
    with pytest.raises(BadRequest, match=r"is of invalid format\. Must be of format MajorNum\.MinorNum\."):
        negotiate({OLD: version})


@pytest.mark.parametrize("version", ["2.0", "3.1", "1.1", "2.999"])
def test_what_is_not_served_is_not_acceptable(version: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiate({NEW: f"compute {version}"})
    assert refused.value.message == (
        f"Version {version} is not supported by the API. Minimum is 2.1 and maximum is {text(MAX)}."
    )


def test_the_legacy_form_says_nothing_of_versions() -> None:
    assert Spoken(legacy=True).headers == []
    names = [name for name, _ in Spoken(5).headers]
    assert names == [b"openstack-api-version", b"x-openstack-nova-api-version", b"vary", b"vary"]
