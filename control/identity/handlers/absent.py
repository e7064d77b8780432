"""What Keystone has and this site has none of: its lists are empty, single ones are not found."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from attrs import frozen
from starlette.responses import Response

from control.identity.call import Call
from schemas.errors import NotFound


@frozen
class Absent:
    """A kind of resource: `plural` heads its list and ends the names of its rules, `one` those of the single one."""

    path: str
    plural: str
    one: str
    words: str


ABSENT: Final = (
    Absent("/v3/credentials", "credentials", "credential", "credential"),
    Absent("/v3/policies", "policies", "policy", "policy"),
    Absent("/v3/OS-FEDERATION/identity_providers", "identity_providers", "identity_provider", "Identity Provider"),
    Absent("/v3/OS-FEDERATION/mappings", "mappings", "mapping", "mapping"),
    Absent("/v3/OS-FEDERATION/service_providers", "service_providers", "service_provider", "Service Provider"),
    Absent("/v3/OS-EP-FILTER/endpoint_groups", "endpoint_groups", "endpoint_group", "Endpoint Group"),
)
LISTS: Final = (
    ("/v3/OS-EP-FILTER/projects/{project}/endpoints", "endpoints", "list_endpoints_for_project"),
    ("/v3/OS-EP-FILTER/projects/{project}/endpoint_groups", "endpoint_groups", "list_endpoint_groups_for_project"),
    ("/v3/OS-EP-FILTER/endpoints/{endpoint}/projects", "projects", "list_projects_for_endpoint"),
)
"""of associations, with their rule: none is made"""

Handler = Callable[[Call], Awaitable[Response]]


def empty(plural: str) -> Handler:
    async def list_nothing(call: Call) -> Response:
        return call.listed(plural, [])

    return list_nothing


def missing(absent: Absent) -> Handler:
    return partial(_not_found, absent)


async def _not_found(absent: Absent, call: Call) -> Response:
    raise NotFound(f"Could not find {absent.words}: {call.part('absent')}.")
