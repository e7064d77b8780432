"""Allocation candidates by trying everything: Placement's rules one after another, slowly, on plain providers."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product

from attrs import frozen
from unit_placement import Rp

from control.placement.forest import SHARING
from control.placement.query import CandidateQuery, Group, ProviderQuery, Wanted

Pieces = frozenset[tuple[str, str, int]]
"""provider, class, amount"""
Mappings = frozenset[tuple[str, frozenset[str]]]
"""suffix, providers"""


@frozen
class Served:
    """One group, by these providers."""

    group: Group
    by: tuple[str, ...]
    """of each class in the group's order, or the only one"""

    @property
    def amounts(self) -> list[tuple[str, str, int]]:
        by = self.by if not self.group.suffix else self.by * len(self.group.resources)
        return [(uuid, name, n) for uuid, (name, n) in zip(by, self.group.resources.items(), strict=False)]


class Brute:
    def __init__(self, providers: Iterable[Rp]) -> None:
        self.rps = {rp.name: rp for rp in providers}

    def line(self, uuid: str) -> list[str]:
        """The provider and all above it."""
        parent = self.rps[uuid].parent
        return [uuid] if parent is None else [uuid, *self.line(parent)]

    def root(self, uuid: str) -> str:
        return self.line(uuid)[-1]

    def tree(self, root: str) -> list[str]:
        return [uuid for uuid in self.rps if self.root(uuid) == root]

    def fits(self, uuid: str, name: str, amount: int) -> bool:
        rp = self.rps[uuid]
        inventory = rp.inventories.get(name)
        if inventory is None:
            return False
        used = rp.used.get(name, 0)
        return (
            used + amount <= (inventory.total - inventory.reserved) * inventory.allocation_ratio
            and inventory.min_unit <= amount <= inventory.max_unit
            and amount % inventory.step_size == 0
        )

    def providers(self, query: ProviderQuery) -> set[str]:
        return {
            uuid
            for uuid, rp in self.rps.items()
            if query.name in (None, rp.name)
            and query.uuid in (None, uuid)
            and (query.in_tree is None or (query.in_tree in self.rps and self.root(query.in_tree) == self.root(uuid)))
            and all(self.fits(uuid, name, n) for name, n in query.resources.items())
            and bears(rp.traits, query.traits)
            and bears(rp.aggregates, query.aggregates)
        }

    def candidates(self, query: CandidateQuery) -> set[tuple[Pieces, Mappings]]:
        found = set()
        for root in self.rps:
            if self.rps[root].parent is None and bears(self.rps[root].traits, query.root):
                for served in product(*(list(self.ways(root, group)) for group in query.groups)):
                    amounts: Counter[tuple[str, str]] = Counter()
                    for one in served:
                        for uuid, name, n in one.amounts:
                            amounts[uuid, name] += n
                    if self.goes_together(query, served, amounts):
                        pieces = frozenset((uuid, name, n) for (uuid, name), n in amounts.items())
                        found.add((pieces, frozenset((s.group.suffix, frozenset(s.by)) for s in served)))
        return found

    def ways(self, root: str, group: Group) -> Iterator[Served]:
        """How one group can be served in one tree."""
        tree = self.tree(root)
        in_tree_aggregates = {a for uuid in tree for a in self.rps[uuid].aggregates}
        lenders = [
            uuid
            for uuid, rp in self.rps.items()
            if uuid not in tree and SHARING in rp.traits and rp.aggregates & in_tree_aggregates
        ]
        if group.in_tree is not None and group.in_tree not in self.rps:
            return
        wanted_root = self.root(group.in_tree) if group.in_tree else None
        if group.suffix:
            for uuid in tree + lenders:
                rp = self.rps[uuid]
                if (
                    all(self.fits(uuid, name, n) for name, n in group.resources.items())
                    and bears(rp.traits, group.traits)
                    and bears(rp.aggregates, group.aggregates)
                    and wanted_root in (None, self.root(uuid))
                    and (group.resources or group.traits.any_of or group.aggregates.any_of)
                ):
                    yield Served(group, (uuid,))
            return
        usable = tree + lenders
        if wanted_root is not None:
            usable = tree if wanted_root == root else []
        usable = [uuid for uuid in usable if self.in_aggregates(uuid, root, group.aggregates)]
        for by in product(usable, repeat=len(group.resources)):
            each = zip(by, group.resources.items(), strict=True)
            together = frozenset().union(*(self.rps[uuid].traits for uuid in by))
            if all(self.fits(uuid, name, n) for uuid, (name, n) in each) and bears(together, group.traits):
                yield Served(group, by)

    def in_aggregates(self, uuid: str, root: str, wanted: Wanted) -> bool:
        """An aggregate of the root spans its tree, but what another tree shares must be a member itself."""
        own, spanning = self.rps[uuid].aggregates, self.rps[root].aggregates
        positive = Wanted(any_of=wanted.any_of)
        member = bears(own, positive) or (self.root(uuid) == root and bears(spanning, positive))
        return member and not (own | spanning) & wanted.forbidden

    def goes_together(
        self, query: CandidateQuery, served: tuple[Served, ...], amounts: Counter[tuple[str, str]]
    ) -> bool:
        for (uuid, name), amount in amounts.items():
            inventory, used = self.rps[uuid].inventories[name], self.rps[uuid].used.get(name, 0)
            if used + amount > inventory.capacity or amount > inventory.max_unit:
                return False
        alone = [s.by[0] for s in served if s.group.suffix]
        if query.policy == "isolate" and len(set(alone)) < len(alone):
            return False
        for suffixes in query.same_subtrees:
            among = {uuid for s in served if s.group.suffix in suffixes for uuid in s.by}
            if not any(all(uuid in self.line(other) for other in among) for uuid in among):
                return False
        if not query.nested:
            used_by = {uuid for uuid, _ in amounts}
            return len({self.root(uuid) for uuid in used_by}) == len(used_by)
        return True


def bears(names: frozenset[str], wanted: Wanted) -> bool:
    return all(names & any_of for any_of in wanted.any_of) and not names & wanted.forbidden
