"""What a provider is and belongs to: its traits and aggregates."""

from collections.abc import Set
from datetime import datetime

from attrs import evolve

from control.placement.reading import Reading
from control.placement.vocabulary import begin_use, unknown_traits
from control.placement.writes.providers import Found, change, find
from kv.txn import Txn
from schemas.errors import BadRequest, ConcurrentUpdate


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
    reading: Reading, uuid: str, generation: int | None, aggregates: Set[str], now: datetime
) -> tuple[Txn, int]:
    """The new generation; without a `generation` to compare it stays, as it did before 1.19.

    Raises NotFound, ConcurrentUpdate.
    """
    found = find(reading, uuid)
    _check_generation(found, generation)
    after = evolve(found.provider.value, aggregates=frozenset(aggregates))
    return change("set aggregates", found, after, now, raised=generation is not None)


def _check_generation(found: Found, generation: int | None) -> None:
    if generation is not None and generation != found.generation:
        raise ConcurrentUpdate(
            "Resource provider's generation already changed. Please update the generation and try again."
        )
