"""What the books say of who lies where on hosts, for invariants of sites."""

from collections import Counter
from collections.abc import Iterable

from schemas.placement import Usages
from schemas.topology import TopologyClaim


def given(books: Iterable[Usages]) -> dict[str, TopologyClaim]:
    """By consumer."""
    return {consumer: claim for usages in books for consumer, claim in usages.topology.items()}


def given_twice(usages: Usages) -> list[int]:
    """Processors of a host that several have for themselves."""
    taken = Counter(cpu for claim in usages.topology.values() for cell in claim.cells for cpu in cell.taken)
    return sorted(cpu for cpu, times in taken.items() if times > 1)
