"""What is asked of the view: providers, candidates, sums of usages. Values only; parsing is the API's."""

from typing import Literal

from attrs import field, frozen

from control.placement.resources import Amounts


@frozen
class Wanted:
    """A condition on a set of names: of each of `any_of` at least one is in it, of `forbidden` none.

    Said of a provider's traits and, with uuids, of its aggregates.
    """

    any_of: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.any_of or self.forbidden)

    def names(self) -> frozenset[str]:
        """All that it mentions."""
        return self.forbidden.union(*self.any_of)


ANYTHING = Wanted()


@frozen
class ProviderQuery:
    """`GET /resource_providers`: all conditions hold; None or empty: no condition."""

    name: str | None = None
    uuid: str | None = None
    in_tree: str | None = None
    """any provider of the tree"""
    resources: Amounts = field(factory=dict)
    """the provider alone has room for all of these, by capacity, units and step"""
    traits: Wanted = ANYTHING
    aggregates: Wanted = ANYTHING


@frozen
class Group:
    """One request group of `GET /allocation_candidates`. The group with suffix "" may be served by several providers of
    a tree and those that share with it; any other by one provider alone."""

    suffix: str = ""
    resources: Amounts = field(factory=dict)
    """empty: only with a suffix that one of `same_subtrees` names"""
    traits: Wanted = ANYTHING
    aggregates: Wanted = ANYTHING
    in_tree: str | None = None


@frozen
class CandidateQuery:
    """`GET /allocation_candidates`, checked: there are resources, suffixes in `same_subtrees` exist."""

    groups: tuple[Group, ...]
    """the one with suffix "" first, if it is there"""
    policy: Literal["none", "isolate"] = "none"
    """isolate: each group with a suffix is served by a provider of its own"""
    limit: int | None = None
    root: Wanted = ANYTHING
    """traits of the root of the tree"""
    same_subtrees: tuple[frozenset[str], ...] = ()
    """of each set of suffixes, one provider that serves them is an ancestor of the others, or the only one"""
    nested: bool = True
    """since 1.29: one candidate may use several providers of a tree, and summaries tell of the whole trees"""


@frozen
class UsageQuery:
    """`GET /usages`: by consumer type (None: without one) how many consumers a project has and what they hold."""

    project: str
    user: str | None = None
    type: str | None = None
    """a consumer type, or `unknown`: consumers without one; None: all types"""
