"""Candidates as the JSON that `GET /allocation_candidates` answers, in the shape of each microversion.

The current shape is written from pieces: each provider keeps its summary as long as nothing of it changes, equal sets
of traits are written once. The earlier shapes go through dictionaries.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import orjson
from attrs import frozen

from control.placement.candidates.found import Alone, Candidates, Request
from control.placement.forest import Forest, Node
from control.placement.query import CandidateQuery


@frozen
class Shape:
    """What a microversion shows."""

    keyed: bool
    """since 1.12 allocations are a dictionary by provider, before a list"""
    traits: bool
    """since 1.17"""
    all_classes: bool
    """since 1.27; before, only the classes that are asked for"""
    trees: bool
    """since 1.29 parents and roots"""
    mappings: bool
    """since 1.34"""


CURRENT: Final = Shape(keyed=True, traits=True, all_classes=True, trees=True, mappings=True)


@lru_cache(64)
def shape_of(version: int) -> Shape:
    """Of microversion 1.`version`."""
    return Shape(version >= 12, version >= 17, version >= 27, version >= 29, version >= 34)


def body_of(forest: Forest, query: CandidateQuery, candidates: Candidates, shape: Shape = CURRENT) -> bytes:
    """The whole answer."""
    if shape != CURRENT:
        return orjson.dumps(_plain(forest, query, candidates, shape))
    requests = b",".join([*_alone(forest, candidates.alone), *_searched(forest, candidates.searched)])
    parts = [b'{"allocation_requests":[', requests, b'],"provider_summaries":{']
    json_of = forest.traits.json
    for row in candidates.told:
        node = forest.at(row)
        parts += (node.summary or _summary(node), json_of(node.traits), b"},")
    if candidates.told:
        parts[-1] = b"}"
    parts.append(b"}}")
    return b"".join(parts)


def _alone(forest: Forest, found: Alone) -> list[bytes]:
    each = b'{"allocations":{"%%b":{"resources":%b}},"mappings":{"%b":["%%b"]}}' % (
        orjson.dumps(found.resources),
        found.suffix.encode(),
    )
    uuids = [forest.at(row).uuid.encode() for row in found.rows]
    return [each % (uuid, uuid) for uuid in uuids]


def _searched(forest: Forest, requests: Iterable[Request]) -> list[bytes]:
    return [orjson.dumps({"allocations": _allocations(forest, r), "mappings": _mappings(forest, r)}) for r in requests]


def _summary(node: Node) -> bytes:
    """A provider's entry up to its traits."""
    resources = ",".join(
        f'"{name}":{{"capacity":{capacity},"used":{used}}}' for name, capacity, used in _resources(node)
    )
    parent = f'"{node.parent.uuid}"' if node.parent else "null"
    node.summary = (
        f'"{node.uuid}":{{"resources":{{{resources}}},"parent_provider_uuid":{parent},'
        f'"root_provider_uuid":"{node.root.uuid}","traits":'
    ).encode()
    return node.summary


def _resources(node: Node) -> Iterator[tuple[str, int, int]]:
    """Each class with its capacity, which may have more than 64 bits, and what is used of it."""
    for name, inventory in node.inventories.items():
        yield name, inventory.capacity, node.used.get(name, 0)


def _allocations(forest: Forest, request: Request) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row, name, amount in sorted(request.pieces):
        found.setdefault(forest.at(row).uuid, {"resources": {}})["resources"][name] = amount
    return found


def _mappings(forest: Forest, request: Request) -> dict[str, list[str]]:
    return {suffix: [forest.at(row).uuid for row in sorted(rows)] for suffix, rows in request.mappings}


def _plain(forest: Forest, query: CandidateQuery, candidates: Candidates, shape: Shape) -> dict[str, Any]:
    asked = {name for group in query.groups for name in group.resources}
    requests: list[dict[str, Any]] = []
    for request in candidates.requests:
        allocations: Any = _allocations(forest, request)
        if not shape.keyed:
            allocations = [{"resource_provider": {"uuid": uuid}, **taken} for uuid, taken in allocations.items()]
        mappings = {"mappings": _mappings(forest, request)} if shape.mappings else {}
        requests.append({"allocations": allocations, **mappings})
    summaries: dict[str, dict[str, Any]] = {}
    for row in candidates.told:
        node = forest.at(row)
        told = summaries[node.uuid] = {
            "resources": {
                name: {"capacity": min(capacity, 2**63 - 1), "used": used}
                for name, capacity, used in _resources(node)
                if shape.all_classes or name in asked
            }
        }
        if shape.traits:
            told["traits"] = forest.traits.names(node.traits)
        if shape.trees:
            told["parent_provider_uuid"] = node.parent.uuid if node.parent else None
            told["root_provider_uuid"] = node.root.uuid
    return {"allocation_requests": requests, "provider_summaries": summaries}
