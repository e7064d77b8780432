"""The query of a server list as a predicate. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from attrs import field, frozen

from control.compute.call import Query
from control.compute.patterns import Pattern, Patterns
from control.compute.schemas.common import FALSE_WORDS, TRUE_WORDS, truth, words
from control.compute.validation import parse_time
from control.compute.views.moments import before_second, from_second
from control.compute.views.servers import status
from control.compute.views.status import KNOWN
from control.servers.find import Found
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
"""What filters compare, for equality unless it is searched"""

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


@frozen
class ServerFilters:
    """`tests` must all hold; the rest tells which servers are read at all."""

    tests: tuple[Test, ...] = ()
    patterns: Patterns = field(factory=Patterns)
    """those that the tests search for"""
    changes_since: datetime | None = None
    with_deleted: bool = False
    only_deleted: bool = False
    all_tenants: bool = False
    nothing: bool = False
    """no server can match: do not read"""

    async def chosen(self, found: Sequence[Found], *, down: bool) -> list[Found]:
        """Those that pass the tests. Of a server whose cell does not answer nothing can be tested: `down` tells whether
        it is taken."""

        def passes(one: Found) -> bool:
            if one.instance.vm_state == "unknown":
                return down
            return all(test(one.instance) for test in self.tests)

        return await self.patterns.kept(found, passes)


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
    patterns = Patterns()
    tests = [_equal(PLAIN[k], v) for k, v in asked.items() if k in PLAIN and k not in _SEARCHED]
    statuses = {s.upper() for s in asked.get("status", [])}
    nothing = bool(statuses) and not statuses & KNOWN
    if nothing and version >= 38:
        raise BadRequest("Invalid status value")
    if "DELETED" in statuses and not admin:
        raise Forbidden("Only administrators may list deleted instances")
    if statuses:
        tests.append(lambda s: status(s) in statuses)
    tests += _further(asked, patterns)
    if since:
        since = from_second(since)
        tests.append(_since(since))
    if before:
        tests.append(_before(before_second(before)))
    only_deleted = "DELETED" in statuses or (admin and truth(_last(asked, "deleted")))
    with_deleted = since is not None or before is not None
    return ServerFilters(tuple(tests), patterns, since, with_deleted, only_deleted, all_tenants, nothing)


def _further(asked: Query, patterns: Patterns) -> list[Test]:
    tests = [_matches(patterns.compile(asked[key][-1]), value) for key, value in _SEARCHED.items() if key in asked]
    tests += [_flag(truth(asked[key][-1]), value) for key, value in _FLAGS.items() if key in asked]
    tests += [_at(asked[key][-1], value) for key, value in _MOMENTS.items() if key in asked]
    for key, test in _TAG_TESTS.items():
        if key in asked:
            tests.append(_tagged({t for t in asked[key][-1].split(",") if t}, test))
    return tests


_SEARCHED: Final[dict[str, Callable[[Instance], Iterable[str | None]]]] = {
    "name": lambda s: [s.name],
    "display_name": lambda s: [s.name],
    "access_ip_v4": lambda s: [s.access_ip_v4],
    "access_ip_v6": lambda s: [s.access_ip_v6],
    "availability_zone": lambda s: [s.availability_zone],
    "description": lambda s: [s.description],
    "display_description": lambda s: [s.description],
    "hostname": lambda s: [s.hostname],
    "key_name": lambda s: [s.key.name if s.key else None],
    "node": lambda s: [s.node],
    "reservation_id": lambda s: [s.reservation],
    "ip": lambda s: [a.ip for a in s.addresses if a.version == 4],
    "ip6": lambda s: [a.ip for a in s.addresses if a.version == 6],
}
"""Regular expressions, as all columns of text but the few that Nova's database compares for equality"""
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


def _matches(asked: Pattern, values: Callable[[Instance], Iterable[str | None]]) -> Test:
    return lambda s: any(v is not None and asked.found_in(v) for v in values(s))


def _since(moment: datetime) -> Test:
    return lambda s: s.updated >= moment


def _before(moment: datetime) -> Test:
    return lambda s: s.updated < moment


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
