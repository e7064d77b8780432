"""The query string of `GET /allocation_candidates`."""

import re
from typing import Any, Final

from control.placement.api import parsing
from control.placement.api.call import Query
from control.placement.api.schemas.common import NAMED, NUMBERED
from control.placement.query import ANYTHING, CandidateQuery, Group, Wanted
from schemas.errors import BadRequest, BadValue, DuplicateKey, MissingValue
from schemas.numbers import whole_number

GRANULAR: Final = 25
NESTED: Final = 29
NAMED_SUFFIXES: Final = 33
SAME_SUBTREE: Final = 36

_KEY: Final = "^(resources|required|member_of|in_tree)({})?$"
_NUMBERED: Final = re.compile(_KEY.format(NUMBERED))
_NAMED: Final = re.compile(_KEY.format(NAMED))


def parse(query: Query, version: int) -> CandidateQuery:
    """Raises BadRequest, with a label where Placement gives one. Whether names exist is for others to say."""
    root = _root(query.get("root_required", []))
    same_subtrees = tuple(_suffixes(value) for value in query.get("same_subtree", ()))
    groups = _groups(query, version)
    if version >= SAME_SUBTREE:
        _check_subtrees(groups, same_subtrees)
    else:
        _check_orphans(groups)
    if version >= parsing.FORBIDDEN_TRAITS:
        _check_conflicts(groups)
    policy = query.get("group_policy", [None])[0]
    if policy is None and sum(1 for suffix in groups if suffix) > 1:
        raise BadRequest(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
    limit = query.get("limit")
    return CandidateQuery(
        groups=tuple(groups[suffix] for suffix in sorted(groups, key=bool)),
        policy="isolate" if policy == "isolate" else "none",
        limit=whole_number(limit[0]) if limit else None,
        root=root,
        same_subtrees=same_subtrees,
        nested=version >= NESTED,
    )


def _groups(query: Query, version: int) -> dict[str, Group]:
    """By suffix, in the order of their first keys."""
    pattern = _NAMED if version >= NAMED_SUFFIXES else _NUMBERED
    parts: dict[str, dict[str, Any]] = {}
    for key, values in query.items():
        match = pattern.match(key)
        if match is None:
            continue
        suffix = match[2] or ""
        group = parts.setdefault(suffix, {})
        if match[1] == "resources":
            group["resources"] = parsing.resources(values[-1])
        elif match[1] == "required":
            group["traits"] = parsing.traits(values, version)
        elif match[1] == "member_of":
            group["aggregates"] = parsing.aggregates(values, version, suffix)
        else:
            group["in_tree"] = parsing.in_tree(values[-1])
    return {suffix: Group(suffix, **found) for suffix, found in parts.items()}


def _root(values: list[str]) -> Wanted:
    if len(values) > 1:
        raise DuplicateKey("Query parameter 'root_required' may be specified only once.")
    if not values:
        return ANYTHING
    wanted, forbidden = parsing.listed_traits(values[0], forbids=True)
    conflicts = sorted(forbidden.intersection(wanted))
    if conflicts:
        raise BadValue(f"Conflicting required and forbidden traits found in root_required: {', '.join(conflicts)}")
    return Wanted(tuple(frozenset({name}) for name in dict.fromkeys(wanted)), frozenset(forbidden))


def _suffixes(value: str) -> frozenset[str]:
    suffixes = frozenset(part.strip() for part in value.split(","))
    if "" in suffixes:
        raise BadValue("Empty string (unsuffixed group) can not be specified in `same_subtree` ")
    return suffixes


def _check_subtrees(groups: dict[str, Group], same_subtrees: tuple[frozenset[str], ...]) -> None:
    empty = [suffix for suffix, group in groups.items() if not group.resources]
    if len(empty) == len(groups):
        raise MissingValue("There must be at least one resources or resources[$S] parameter.")
    named = frozenset[str]().union(*same_subtrees)
    bad = [suffix for suffix in empty if suffix not in named]
    if bad:
        raise BadValue(
            "Resourceless suffixed group request should be specified in `same_subtree` query param: "
            f"bad group(s) - {bad}."
        )
    unknown = sorted(suffix for suffix in named if suffix not in groups)
    if unknown:
        raise BadValue(f"Real suffixes should be specified in `same_subtree`: {unknown} not found in {list(groups)}.")


def _check_orphans(groups: dict[str, Group]) -> None:
    orphans = [f"required{s}" for s, g in groups.items() if g.traits.any_of and not g.resources]
    if orphans:
        raise BadRequest(
            "All traits parameters must be associated with resources.  Found the following orphaned traits keys: "
            + ", ".join(orphans)
        )
    orphans = [f"member_of{s}" for s, g in groups.items() if g.aggregates and not g.resources]
    if orphans:
        raise BadRequest(
            "All member_of parameters must be associated with resources. Found the following orphaned member_of keys: "
            + ", ".join(orphans)
        )
    if not all(g.resources for g in groups.values()):
        raise BadRequest("All request groups must specify resources.")
    if not groups:
        raise BadRequest("At least one request group (`resources` or `resources{$S}`) is required.")


def _check_conflicts(groups: dict[str, Group]) -> None:
    conflicts = sorted(
        f"required{suffix}: ({', '.join(sorted(names))})"
        for suffix, group in groups.items()
        for names in parsing.conflicting(group.traits)
    )
    if conflicts:
        raise BadRequest(
            "Conflicting required and forbidden traits found in the following traits keys: " + ", ".join(conflicts)
        )
