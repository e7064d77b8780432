"""All providers as one model: trees, inventories, usages, traits, aggregates, allocations. Pure.

Every provider has a row; what is compared for many at once lies in numpy columns (resources) and in bits (traits and
aggregates), the rest in its Node. Each `set_*` takes what a key of the store holds since a revision, and is ignored
when something newer is known: an own commit may be ahead of the watch. Records of one transaction may come in any
order.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from attrs import define, evolve, field

from control.placement.bits import Bits, Mask, RowSets, mask_of
from control.placement.columns import Columns
from control.placement.consumers import Consumers
from control.placement.names import NameSets
from kv.txn import Stored
from schemas.placement import Allocation, Inventory, Provider, Usages

SHARING: Final = "MISC_SHARES_VIA_AGGREGATE"
"""The trait of a provider whose inventory counts for every tree that has a provider in one of its aggregates."""
FIRST_ROWS: Final = 64


@define(eq=False)
class Node:
    """One provider; it exists if `stored` is there. Its row is its own until it is deleted."""

    uuid: str
    row: int
    root: "Node" = field(init=False)
    """itself, while its parent is not known"""
    stored: Stored[Provider] | None = None
    """without its traits: see `Forest.provider`"""
    usages: Stored[Usages] | None = None
    reserved: dict[str, int] = field(factory=dict)
    """what claims under way in this process will use"""
    traits: Bits = 0
    """by `Forest.traits`"""
    parent: "Node | None" = None
    waits_for: str | None = None
    """the uuid of a parent that it cannot hang under yet"""
    children: "tuple[Node, ...]" = ()
    summary: bytes | None = None
    """a reader's own, dropped at each change"""

    def __attrs_post_init__(self) -> None:
        self.root = self

    @property
    def inventories(self) -> dict[str, Inventory]:
        return self.stored.value.inventories if self.stored else {}

    @property
    def used(self) -> dict[str, int]:
        return self.usages.value.used if self.usages else {}

    @property
    def aggregates(self) -> frozenset[str]:
        return self.stored.value.aggregates if self.stored else frozenset()

    def tree(self) -> Iterator["Node"]:
        """Itself and all below, each after its parent."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def line(self) -> Iterator["Node"]:
        """Itself and all above."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class Forest:
    """Not thread-safe. Rows of deleted providers are given again."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        """by uuid; also of providers of which only the usages have been seen yet"""
        self.rows: list[Node | None] = []
        self.columns = Columns()
        self.root = np.zeros(0, dtype=np.int32)
        """each row's root's row; as long as the columns"""
        self.existing: Bits = 0
        """rows of the providers that there are"""
        self.children: Bits = 0
        """rows of those that have a parent"""
        self.traits = NameSets()
        self.with_trait = RowSets()
        self.in_aggregate = RowSets()
        self.consumers = Consumers()
        self._by_name: dict[str, Node] = {}
        self._free: list[int] = []
        self._orphans: dict[str, list[Node]] = {}
        """by the uuid of a parent that is not known yet"""
        self._deleted: dict[str, int] = {}
        """paths and the revisions of their deletion, as far as the watch may be behind them"""
        self._share = lru_cache(10_000)(_itself)
        self._share_inventories = lru_cache(10_000)(_as_dict)

    # What there is

    def __len__(self) -> int:
        return self.existing.bit_count()

    def get(self, uuid: str) -> Node | None:
        """The provider, if it exists."""
        node = self.nodes.get(uuid)
        return node if node and node.stored else None

    def at(self, row: int) -> Node:
        node = self.rows[row]
        assert node is not None, f"row {row} is free"
        return node

    def named(self, name: str) -> Node | None:
        return self._by_name.get(name)

    def provider(self, uuid: str) -> Stored[Provider] | None:
        """The whole record."""
        node = self.get(uuid)
        if node is None or node.stored is None:
            return None
        traits = frozenset(self.traits.names(node.traits))
        return evolve(node.stored, value=evolve(node.stored.value, traits=traits))

    def usages(self, uuid: str) -> Stored[Usages] | None:
        node = self.nodes.get(uuid)
        return node.usages if node else None

    def allocation(self, consumer: str) -> Stored[Allocation] | None:
        return self.consumers.get(consumer)

    def mask(self, bits: Bits) -> Mask:
        """A set of rows as one truth a row of the columns."""
        return mask_of(bits, self.columns.size)

    # What has changed

    def set_provider(self, uuid: str, stored: Stored[Provider] | None, at: int | None = None) -> None:
        """`at`: the revision of a deletion; None: it is as said, whatever was known."""
        node = self.nodes.get(uuid)
        if not self._is_news(f"p{uuid}", node.stored if node else None, stored, at):
            return
        if node is None:
            if stored is None:
                return
            node = self._planted(uuid)
        before, after = node.stored and node.stored.value, stored and stored.value
        traits = after.traits if after else frozenset()
        self.with_trait.move(node.row, self.traits.names(node.traits), traits)
        self.in_aggregate.move(node.row, node.aggregates, after.aggregates if after else ())
        node.traits = self.traits.bits(traits)
        node.stored = stored and evolve(stored, value=self._compact(stored.value))
        self._rename(node, before.name if before else None, after.name if after else None)
        self._mark(node)
        self._move(node, after.parent if after else None)
        for child in list(self._orphans.get(uuid, ())) if after else ():
            self._move(child, uuid)
        self._count(node, before.inventories if before else {}, {})
        self._prune(node)

    def set_usages(self, uuid: str, stored: Stored[Usages] | None, at: int | None = None) -> None:
        """As `set_provider`."""
        node = self.nodes.get(uuid)
        if not self._is_news(f"u{uuid}", node.usages if node else None, stored, at):
            return
        if node is None:
            if stored is None:
                return
            node = self._planted(uuid)
        before, node.usages = node.used, stored
        self._count(node, {}, before)
        self._prune(node)

    def set_allocation(self, consumer: str, stored: Stored[Allocation] | None, at: int | None = None) -> None:
        """As `set_provider`."""
        if self._is_news(f"a{consumer}", self.consumers.get(consumer), stored, at):
            self.consumers.set(consumer, stored)

    def reserve(self, resources: Mapping[str, Mapping[str, int]], sign: int = 1) -> None:
        """Counts a claim under way, by provider and class, as used in the columns; -1 ends that."""
        for uuid, amounts in resources.items():
            node = self.nodes.get(uuid)
            if node is None:
                continue  # deleted meanwhile, and its reservations with it
            for name, amount in amounts.items():
                node.reserved[name] = node.reserved.get(name, 0) + sign * amount
                self.columns.set(node.row, name, node.inventories.get(name), self._taken(node, name))

    def forget_deletions(self, revision: int) -> None:
        """Nothing older than this revision will be told any more."""
        if self._deleted:
            self._deleted = {path: at for path, at in self._deleted.items() if at > revision}

    def _is_news(self, path: str, known: Stored[Any] | None, stored: Stored[Any] | None, at: int | None) -> bool:
        latest = known.mod_revision if known else self._deleted.get(path, 0)
        if stored is None:
            if at is None or at > latest:
                if at:
                    self._deleted[path] = at
                return True
            return False
        if stored.mod_revision > latest:
            self._deleted.pop(path, None)
            return True
        return False

    # How it is kept

    def _planted(self, uuid: str) -> Node:
        row = self._free.pop() if self._free else len(self.rows)
        if row == len(self.rows):
            self.rows.append(None)
            if row >= self.columns.size:
                self.columns.grow(max(FIRST_ROWS, 2 * self.columns.size))
                self.root = np.concatenate((self.root, np.arange(len(self.root), self.columns.size, dtype=np.int32)))
        node = self.nodes[uuid] = self.rows[row] = Node(uuid, row)
        self.root[row] = row
        return node

    def _prune(self, node: Node) -> None:
        """A node of which nothing is known any more gives its row back."""
        if node.stored or node.usages:
            return
        del self.nodes[node.uuid]
        for name in node.reserved:
            self.columns.set(node.row, name, None, 0)
        for child in node.children:
            self._move(child, node.uuid)
        self.rows[node.row] = None
        self._free.append(node.row)

    def _move(self, node: Node, parent_uuid: str | None) -> None:
        """Hangs a node and all below it under its parent; one that is not known yet or lies below it is waited for."""
        if node.parent is not None:
            node.parent.children = tuple(n for n in node.parent.children if n is not node)
            node.parent = None
        elif node.waits_for is not None:
            waiting = self._orphans[node.waits_for]
            waiting.remove(node)
            if not waiting:
                del self._orphans[node.waits_for]
        node.waits_for = None
        if parent_uuid is not None:
            parent = self.nodes.get(parent_uuid)
            if parent is None or any(n is parent for n in node.tree()):
                node.waits_for = parent_uuid
                self._orphans.setdefault(parent_uuid, []).append(node)
            else:
                node.parent, parent.children = parent, (*parent.children, node)
        root = node.parent.root if node.parent else node
        for below in node.tree():
            below.root, below.summary = root, None
            self.root[below.row] = root.row

    def _mark(self, node: Node) -> None:
        bit = 1 << node.row
        self.existing = self.existing | bit if node.stored else self.existing & ~bit
        has_parent = node.stored is not None and node.stored.value.parent is not None
        self.children = self.children | bit if has_parent else self.children & ~bit

    def _rename(self, node: Node, before: str | None, after: str | None) -> None:
        if before is not None and self._by_name.get(before) is node:
            del self._by_name[before]
        if after is not None:
            self._by_name[after] = node

    def _count(self, node: Node, offered: dict[str, Inventory], used: dict[str, int]) -> None:
        """Writes a row's columns again; `offered` and `used` are what it had before."""
        node.summary = None
        inventories, uses = node.inventories, node.used
        for name in inventories.keys() | offered.keys() | uses.keys() | used.keys():
            self.columns.set(node.row, name, inventories.get(name), self._taken(node, name))

    def _taken(self, node: Node, name: str) -> int:
        return node.used.get(name, 0) + node.reserved.get(name, 0)

    def _compact(self, provider: Provider) -> Provider:
        inventories = self._share_inventories(tuple(provider.inventories.items()))
        aggregates = self._share(provider.aggregates)
        return evolve(provider, traits=frozenset(), inventories=inventories, aggregates=aggregates)


def _itself(value: Any) -> Any:
    return value


def _as_dict(items: tuple[tuple[str, Inventory], ...]) -> dict[str, Inventory]:
    return dict(items)
