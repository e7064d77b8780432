"""The query of a server list as a predicate. Pure."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from attrs import frozen

from control.compute.call import Query
from control.compute.schemas.common import FALSE_WORDS, TRUE_WORDS, truth, words
from control.compute.validation import parse_time
from control.compute.views.servers import status
from control.compute.views.status import KNOWN
from schemas.errors import BadRequest, Forbidden
from schemas.server import Instance

Test = Callable[[Instance], bool]

PLAIN: Final[dict[str, Callable[[Instance], object]]] = {
    "access_ip_v4": lambda s: s.access_ip_v4,
    "access_ip_v6": lambda s: s.access_ip_v6,
    "availability_zone": lambda s: s.availability_zone,
    "description": lambda s: s.description,
    "display_description": lambda s: s.description,
    "flavor": lambda s: s.flavor.id,
    "host": lambda s: s.host,
    "hostname": lambda s: s.hostname,
    "image": lambda s: s.image.id if s.image else "",
    "image_ref": lambda s: s.image.id if s.image else "",
    "key_name": lambda s: s.key.name if s.key else None,
    "launch_index": lambda s: s.launch_index,
    "locked_by": lambda s: s.locked_by,
    "node": lambda s: s.node,
    "power_state": lambda s: s.power_state,
    "progress": lambda s: s.progress,
    "project_id": lambda s: s.project,
    "reservation_id": lambda s: s.reservation,
    "task_state": lambda s: s.task_state,
    "tenant_id": lambda s: s.project,
    "user_id": lambda s: s.user,
    "uuid": lambda s: s.uuid,
    "vm_state": lambda s: s.vm_state,
}
"""Filters that compare for equality"""

FOR_EVERYBODY: Final = frozenset(
    words("reservation_id name status image flavor ip changes-since all_tenants limit marker sort_key sort_dir")
)
"""The others are dropped for who may not use all filters."""

MORE_FOR_EVERYBODY: Final = frozenset(
    words(
        "availability_zone config_drive key_name created_at launched_at terminated_at power_state task_state vm_state "
        "progress user_id"
    )
)
"""... from 2.83 on"""

MAX_UNBOUNDED: Final = 3


@frozen
class ServerFilters:
    """`tests` must all hold; the rest tells which servers are read at all."""

    tests: tuple[Test, ...] = ()
    changes_since: datetime | None = None
    with_deleted: bool = False
    only_deleted: bool = False
    all_tenants: bool = False
    nothing: bool = False
    """no server can match: do not read"""

    def wants(self, server: Instance) -> bool:
        return all(test(server) for test in self.tests)


def filters_of(query: Query, version: int, *, everything: bool, admin: bool) -> ServerFilters:
    """`everything`: policy allows all filters. Raises BadRequest and Forbidden."""
    allowed = set(FOR_EVERYBODY)
    allowed |= {"ip6"} if version >= 5 else set()
    allowed |= {"tags", "tags-any", "not-tags", "not-tags-any"} if version >= 26 else set()
    allowed |= {"changes-before"} if version >= 66 else set()
    allowed |= {"locked"} if version >= 73 else set()
    allowed |= MORE_FOR_EVERYBODY if version >= 83 else set()
    allowed |= {"hostname"} if version >= 90 else set()
    asked = {k: v for k, v in query.items() if (everything or k in allowed) and v}
    all_tenants = _all_tenants(asked.get("all_tenants"))
    if not all_tenants:
        asked.pop("tenant_id", None)
        asked.pop("project_id", None)
    since, before = _moment(asked, "changes-since"), _moment(asked, "changes-before")
    if since and before and since > before:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    tests = [_equal(PLAIN[k], v) for k, v in asked.items() if k in PLAIN]
    statuses = {s.upper() for s in asked.get("status", [])}
    nothing = bool(statuses) and not statuses & KNOWN
    if nothing and version >= 38:
        raise BadRequest("Invalid status value")
    if "DELETED" in statuses and not admin:
        raise Forbidden("Only administrators may list deleted instances")
    if statuses:
        tests.append(lambda s: status(s) in statuses)
    tests += _further(asked)
    tests += [lambda s: s.updated >= since] if since else []
    tests += [lambda s: s.updated <= before] if before else []
    only_deleted = "DELETED" in statuses or (admin and truth(_last(asked, "deleted")))
    with_deleted = since is not None or before is not None
    return ServerFilters(tuple(tests), since, with_deleted, only_deleted, all_tenants, nothing)


def _further(asked: Query) -> list[Test]:
    tests = [_matches(pattern(asked[key][-1]), _name) for key in ("name", "display_name") if key in asked]
    tests += [_matches(pattern(asked[key][-1]), _IPS[key]) for key in _IPS if key in asked]
    tests += [_flag(truth(asked[key][-1]), value) for key, value in _FLAGS.items() if key in asked]
    tests += [_at(asked[key][-1], value) for key, value in _MOMENTS.items() if key in asked]
    for key, test in _TAG_TESTS.items():
        if key in asked:
            tests.append(_tagged({t for t in asked[key][-1].split(",") if t}, test))
    return tests


def _name(server: Instance) -> list[str]:
    return [server.name]


_IPS: Final[dict[str, Callable[[Instance], list[str]]]] = {
    "ip": lambda s: [a.ip for a in s.addresses if a.version == 4],
    "ip6": lambda s: [a.ip for a in s.addresses if a.version == 6],
}
_FLAGS: Final[dict[str, Callable[[Instance], bool]]] = {
    "config_drive": lambda s: s.config_drive,
    "auto_disk_config": lambda s: s.disk_config == "AUTO",
    "locked": lambda s: s.locked,
}
_MOMENTS: Final[dict[str, Callable[[Instance], datetime | None]]] = {
    "created_at": lambda s: s.created,
    "launched_at": lambda s: s.launched,
    "terminated_at": lambda s: s.terminated,
}
_TAG_TESTS: Final[dict[str, Callable[[set[str], set[str]], bool]]] = {
    "tags": lambda asked, has: asked <= has,
    "tags-any": lambda asked, has: bool(asked & has),
    "not-tags": lambda asked, has: not asked <= has,
    "not-tags-any": lambda asked, has: not asked & has,
}


def _matches(asked: re.Pattern[str], values: Callable[[Instance], list[str]]) -> Test:
    return lambda s: any(asked.search(v) for v in values(s))


def _flag(asked: bool, value: Callable[[Instance], bool]) -> Test:
    return lambda s: value(s) == asked


def _at(asked: str, value: Callable[[Instance], datetime | None]) -> Test:
    """Equal to the second. Raises BadRequest."""
    try:
        moment = parse_time(asked).replace(microsecond=0)
    except ValueError:
        raise BadRequest(f"Invalid filter: {asked} is no time") from None
    return lambda s: (at := value(s)) is not None and at.replace(microsecond=0) == moment


def _tagged(asked: set[str], test: Callable[[set[str], set[str]], bool]) -> Test:
    return lambda s: test(asked, set(s.tags))


def _equal(value: Callable[[Instance], object], asked: Iterable[str]) -> Test:
    words = frozenset(asked)
    return lambda s: str(value(s)) in words


def _last(asked: Query, key: str) -> str | None:
    return asked[key][-1] if key in asked else None


def _moment(asked: Query, key: str) -> datetime | None:
    text = _last(asked, key)
    return parse_time(text) if text else None


def _all_tenants(values: list[str] | None) -> bool:
    """Its mere presence is enough."""
    if values is None:
        return False
    word = values[-1]
    if word == "" or word in TRUE_WORDS or word.lower() in ("true", "yes", "on"):
        return True
    if word in FALSE_WORDS or word.lower() in ("false", "no", "off"):
        return False
    raise BadRequest(f"Invalid value '{word}' for all_tenants")


def pattern(text: str) -> re.Pattern[str]:
    """A user's regular expression, searched case-insensitively as databases do. One that could take long is refused:
    a few unbounded repeats, none inside another. Raises BadRequest."""
    try:
        compiled = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise BadRequest(f"Invalid regular expression {text}: {error}") from None
    repeats = len(re.findall(r"(?<!\\)[*+{]", text))
    nested = re.search(r"\)[*+{]", text) or re.search(r"\\[1-9]", text)
    if repeats > MAX_UNBOUNDED or (nested and repeats > 1):
        raise BadRequest(f"Regular expression {text} is too complex: at most {MAX_UNBOUNDED} repeats, none nested")
    return compiled
