"""What a flavor and an image ask of placement beyond plain amounts: traits, granular groups and their policy. Pure."""

import re
from collections.abc import Mapping
from typing import Final

import os_traits
from attrs import field, frozen

from control.placement.pinning import ThreadPolicy, thread_policy
from schemas.errors import BadRequest

_THREADS: Final = {"isolate": "forbidden", "require": "required"}
"""what a thread policy makes of the trait of hosts whose cores have several"""
_SPEC: Final = re.compile(r"(resources|trait)([a-zA-Z0-9_-]{0,64}):(.+)")


@frozen
class Group:
    """Resources that one provider has to give together, with the traits that it must or must not have. The group
    without a suffix may be spread over a tree."""

    resources: Mapping[str, int] = field(factory=dict)
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()


@frozen
class Demands:
    """`groups` by suffix. Without an explicit `group_policy` Nova's placement lets groups share a provider."""

    groups: Mapping[str, Group]
    isolate: bool = False

    @property
    def required(self) -> frozenset[str]:
        return frozenset().union(*(g.required for g in self.groups.values()))

    @property
    def forbidden(self) -> frozenset[str]:
        return frozenset().union(*(g.forbidden for g in self.groups.values()))

    @property
    def separate(self) -> int:
        """How many providers the groups need at least."""
        granular = sum(1 for suffix, group in self.groups.items() if suffix and group.resources)
        return granular if self.isolate else min(granular, 1)


def demands_of(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> Demands:
    """From `resources[N]:CLASS=amount`, `trait[N]:NAME=required|forbidden` and `group_policy`; an image has traits for
    the group without a suffix only, and so has the thread policy of either. 0 removes from that group what the flavor
    has of itself."""
    resources: dict[str, dict[str, int]] = {"": {}}
    traits: dict[str, dict[str, set[str]]] = {}
    images = {k: v for k, v in properties.items() if k.startswith("trait:")}
    for spec, value in [*extra_specs.items(), *images.items()]:
        match = _SPEC.fullmatch(spec)
        if match is None:
            continue
        kind, suffix, name = match.groups()
        if kind == "resources" and value.isdecimal() and (int(value) or not suffix):
            resources.setdefault(suffix, {})[name] = int(value)
        elif kind == "trait" and value in ("required", "forbidden"):
            traits.setdefault(suffix, {}).setdefault(value, set()).add(name)
    threads = _THREADS.get(_thread_policy(extra_specs, properties) or "")
    if threads:
        traits.setdefault("", {}).setdefault(threads, set()).add(os_traits.HW_CPU_HYPERTHREADING)
    return Demands(
        {
            suffix: Group(
                resources.get(suffix, {}),
                frozenset(traits.get(suffix, {}).get("required", ())),
                frozenset(traits.get(suffix, {}).get("forbidden", ())),
            )
            for suffix in sorted(resources.keys() | traits.keys())
        },
        isolate=extra_specs.get("group_policy") == "isolate",
    )


def _thread_policy(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> ThreadPolicy | None:
    """One that contradicts itself was refused when the server was asked for."""
    try:
        return thread_policy(extra_specs, properties)
    except BadRequest:
        return None
