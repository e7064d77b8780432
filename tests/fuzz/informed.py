"""From what schemathesis made up to requests that mostly speak of what is there: else nearly all would be 404s."""

import copy
from random import Random
from typing import Any, Final

from schemathesis.generation.case import Case

from tests.fuzz.ground import FLAVOR, HUGE, Ground
from tests.fuzz.targets import Target

PARAMETERS: Final = {
    ("keypairs", "id"): "key",
    ("aggregates", "id"): "aggregate",
    ("server-groups", "id"): "group",
    ("services", "id"): "service",
    ("instance-actions", "id"): "request",
    ("server-addresses", "id"): "network",
}
"""The pool of a resource's parameter, where it has not the parameter's name"""
WORDS: Final = {
    ("server-metadata", "id"): ("tier", "a-key"),
    ("server-tags", "id"): ("front", "blue"),
    ("flavor-specs", "id"): ("hw:cpu_policy", "a-key"),
}
OLD_CHANGES: Final = ("enable", "disable", "disable-log-reason", "force-down")
"""What stands in the place of a service's id in a PUT below 2.53"""

SAME_KEY: Final = frozenset({"server-metadata.update", "flavor-specs.update"})
"""Operations whose body has one item, under the key that the path ends with"""

REAL: Final = 0.85
"""how often a place that names something names something that is there"""
AS_TOLD, NEARLY = 0.25, 0.35
"""how often a body is the document's example, and how often that with one part made up"""


def inform(case: Case, target: Target, ground: Ground, random: Random) -> None:
    """Changes the case."""
    for name in case.path_parameters:
        if random.random() < REAL:
            case.path_parameters[name] = _parameter(target, name, ground, random)
        elif str(case.path_parameters[name]) in ("", ".", ".."):
            case.path_parameters[name] = "nothing"  # dots are no segment: clients leave them out of the path
    if target.example is not None:
        dice = random.random()
        if dice < AS_TOLD:
            case.body = copy.deepcopy(target.example)
        elif dice < AS_TOLD + NEARLY and isinstance(case.body, dict):
            case.body = _with_one_part(target.example, case.body, random)
        case.body = real(case.body, ground, random)
        if target.name in SAME_KEY and random.random() < REAL:
            case.body = _under(case.body, str(case.path_parameters["id"]))
    if case.query and random.random() < 0.5:
        _plain(case.query, ground, random)


def _under(body: Any, key: str) -> Any:
    """The innermost object's one item, under this key."""
    if not isinstance(body, dict) or len(body) != 1:
        return body
    ((name, value),) = body.items()
    return {name: _under(value, key)} if isinstance(value, dict) else {key: value}


def _parameter(target: Target, name: str, ground: Ground, random: Random) -> str:
    resource = target.name.split(".", maxsplit=1)[0]
    if target.name == "services.update" and int(ground.person.version.split(".")[1]) < 53:
        return random.choice(OLD_CHANGES)
    if target.name in ("hypervisors.search", "hypervisors.servers"):
        return ground.value("hypervisor name")
    if (resource, name) in WORDS:
        return random.choice(WORDS[resource, name])
    return ground.value(PARAMETERS.get((resource, name), name))


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


def real(value: Any, ground: Ground, random: Random) -> Any:
    """With ids that exist in the places of ids."""
    if isinstance(value, list):
        return [real(item, ground, random) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _real_item(key, item, ground, random) for key, item in value.items()}


def _real_item(key: str, item: Any, ground: Ground, random: Random) -> Any:
    known = {
        "flavorRef": [FLAVOR, FLAVOR, FLAVOR, HUGE],
        "imageRef": [ground.image],
        "tenant": ground.pools["project"],
        "project_id": ground.pools["project"],
        "user_id": [ground.person.user],
        "binary": ["nova-compute"],
        "availability_zone": ["nova"],
        **{name: ground.pools.get(pool, []) for name, pool in (("host", "host"), ("group", "group"))},
        "hypervisor_hostname": ground.pools.get("hypervisor name", []),
        "key_name": ground.pools.get("key", []),
    }.get(key)
    if known and isinstance(item, str) and random.random() < REAL:
        return random.choice(known)
    return real(item, ground, random)


def _plain(query: dict[str, Any], ground: Ground, random: Random) -> None:
    """Only one or two keys, with values that could be meant."""
    for key in random.sample(sorted(query), max(0, len(query) - 2)):
        del query[key]
    meant = {"limit": ["1"], "marker": [ground.value("server")], "user_id": [ground.person.user]}
    query |= {key: meant[key] for key in query if key in meant}
