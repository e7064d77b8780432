"""From what schemathesis made up to requests that mostly speak of what is there: else nearly all would be 404s."""

import copy
from random import Random
from typing import Any, Final
from uuid import uuid4

from schemathesis.generation.case import Case

from tests.fuzz.rooms import Laid
from tests.fuzz.targets import Target

SAME_KEY: Final = frozenset({"server-metadata.update", "flavor-specs.update"})
"""Operations whose body has one item, under the key that the path ends with"""

REAL: Final = 0.85
"""how often a place that names something names something that is there"""
AS_TOLD, NEARLY = 0.25, 0.35
"""how often a body is the document's example, and how often that with one part made up"""


def inform(case: Case, target: Target, ground: Laid, random: Random) -> None:
    """Changes the case."""
    for name in case.path_parameters:
        if random.random() < REAL:
            case.path_parameters[name] = ground.parameter(target, name)
        elif str(case.path_parameters[name]) in ("", ".", ".."):
            case.path_parameters[name] = "nothing"  # dots are no segment: clients leave them out of the path
    example = ground.example(target)
    if example is not None:
        dice = random.random()
        if dice < AS_TOLD:
            case.body = copy.deepcopy(example)
            if ".create" in target.name or target.name.startswith("create_"):
                _rename(case.body)
        elif dice < AS_TOLD + NEARLY and isinstance(case.body, dict):
            case.body = _with_one_part(example, case.body, random)
        case.body = real(case.body, ground, random)
        if target.name in SAME_KEY and random.random() < REAL:
            case.body = _under(case.body, str(case.path_parameters["id"]))
    if case.query and random.random() < 0.5:
        _plain(case.query, target, ground, random)


def _rename(body: Any) -> None:
    """What is made once more needs another name, in the next run too."""
    for inner in body.values() if isinstance(body, dict) else ():
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            inner["name"] += f"-{uuid4()}"


def _under(body: Any, key: str) -> Any:
    """The innermost object's one item, under this key."""
    if not isinstance(body, dict) or len(body) != 1:
        return body
    ((name, value),) = body.items()
    return {name: _under(value, key)} if isinstance(value, dict) else {key: value}


def _with_one_part(example: Any, made: dict[str, Any], random: Random) -> Any:
    """The example, with one key of the made one, of the innermost object that both have."""
    whole = copy.deepcopy(example)
    into, out_of = whole, made
    for key in list(example):
        if isinstance(whole.get(key), dict) and isinstance(made.get(key), dict) and made[key]:
            into, out_of = whole[key], made[key]
            break
    if out_of:
        key = random.choice(sorted(out_of))
        into[key] = out_of[key]
    return whole


def real(value: Any, ground: Laid, random: Random) -> Any:
    """With ids that exist in the places of ids."""
    if isinstance(value, list):
        return [real(item, ground, random) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _real_item(key, item, ground, random) for key, item in value.items()}


def _real_item(key: str, item: Any, ground: Laid, random: Random) -> Any:
    known = ground.known(key)
    if known and isinstance(item, str) and random.random() < REAL:
        return random.choice(known)
    return real(item, ground, random)


def _plain(query: dict[str, Any], target: Target, ground: Laid, random: Random) -> None:
    """Only one or two keys, with values that could be meant."""
    for key in random.sample(sorted(query), max(0, len(query) - 2)):
        del query[key]
    meant = {"limit": ["1"], "marker": [ground.parameter(target, "server")], "user_id": [ground.person.user]}
    query |= {key: meant[key] for key in query if key in meant}
