"""What a provider is and belongs to: its traits and aggregates."""

from collections.abc import Iterable, Sequence, Set
from datetime import datetime

from attrs import evolve

from control.placement.reading import Reading
from control.placement.vocabulary import begin_use, unknown_traits
from control.placement.writes.providers import Found, change, find
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import BadRequest, ConcurrentUpdate
from schemas.placement import UsedAggregate


def set_traits(reading: Reading, uuid: str, generation: int | None, traits: Set[str], now: datetime) -> tuple[Txn, int]:
    """The new generation: it stays when the traits do. `generation` None is not compared.

    Raises NotFound, ConcurrentUpdate, BadRequest for traits that do not exist.
    """
    found = find(reading, uuid)
    _check_generation(found, generation)
    before = found.provider.value
    added = traits - before.traits
    unknown = unknown_traits(reading, added)
    if unknown:
        raise BadRequest(f"No such trait {', '.join(unknown)}")
    if traits == before.traits:
        return Txn("set traits"), found.generation
    txn, raised = change("set traits", found, evolve(before, traits=frozenset(traits)), now)
    begin_use(reading, txn, added)
    return txn, raised


def set_aggregates(
    reading: Reading, uuid: str, generation: int | None, aggregates: Sequence[str], now: datetime
) -> tuple[Txn, int]:
    """The new generation; without a `generation` to compare it stays, as it did before 1.19. Those that no provider was
    in before are remembered in their order.

    Raises NotFound, ConcurrentUpdate.
    """
    found = find(reading, uuid)
    _check_generation(found, generation)
    after = evolve(found.provider.value, aggregates=frozenset(aggregates))
    txn, raised = change("set aggregates", found, after, now, raised=generation is not None)
    for place, aggregate in enumerate(aggregates):
        key = Global.USED_AGGREGATES(aggregate)
        if reading.get(key) is None:
            txn.create(key, UsedAggregate(aggregate, place))
    return txn, raised


def aggregates_in_order(reading: Reading, aggregates: Iterable[str]) -> list[str]:
    """As they were first used, which is the order of Placement's database. Those that only a host aggregate brought
    follow."""

    def place(uuid: str) -> tuple[bool, int, int, str]:
        used = reading.get(Global.USED_AGGREGATES(uuid))
        return (used is None, used.create_revision, used.value.place, uuid) if used else (True, 0, 0, uuid)

    return sorted(aggregates, key=place)


def _check_generation(found: Found, generation: int | None) -> None:
    if generation is not None and generation != found.generation:
        raise ConcurrentUpdate(
            "Resource provider's generation already changed. Please update the generation and try again."
        )
