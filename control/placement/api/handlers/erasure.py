"""Deleting or renaming what is custom, in the three steps that `writes.names` tells of."""

from collections.abc import Callable

from control.placement.api.call import Call
from control.placement.forest import Forest
from control.placement.reading import Reading
from control.placement.writes import names as writes
from control.placement.writes.names import Kind
from control.placement.writes.rename import rename
from kv.txn import Txn
from schemas.errors import ConcurrentUpdate, KilonovaError


async def erase(call: Call, kind: Kind, name: str, used: Callable[[Forest], bool], refusal: KilonovaError) -> None:
    """Raises NotFound, or the refusal when a provider uses it."""
    await _mark(call, kind, name)
    if used(call.view.forest):
        await _unmark(call, name)
        raise refusal
    try:
        await call.writer.write(lambda reading: (writes.erase(reading, kind, name), None))
    except ConcurrentUpdate:
        raise refusal from None


async def rename_class(call: Call, name: str, wanted: str) -> None:
    """Raises NotFound, Conflict, ConcurrentUpdate."""
    await _mark(call, writes.CLASSES, name)
    forest = call.view.forest
    users = [uuid for uuid, node in forest.nodes.items() if name in node.inventories]
    consumers = {s.value.consumer for uuid in users for s in forest.consumers.on(uuid)}
    try:
        await call.writer.write(lambda reading: (rename(reading, name, wanted, users, consumers, call.now), None))
    except KilonovaError:
        await _unmark(call, name)
        raise


async def _mark(call: Call, kind: Kind, name: str) -> None:
    """Returns when the view holds all that began to be used before the mark."""

    def decide(reading: Reading) -> tuple[Txn, Txn]:
        txn = writes.mark(reading, kind, name)
        return txn, txn

    marked = await call.writer.write(decide)
    await call.view.wait_until(marked.revision)


async def _unmark(call: Call, name: str) -> None:
    await call.writer.write(lambda reading: (writes.unmark(reading, name), None))
