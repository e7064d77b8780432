"""What every transaction that writes allocations asks for consent, besides capacity."""

from collections.abc import Iterable
from typing import Final

from control.placement.groups import placed, violation
from control.placement.reading import Reading
from control.placement.writes.allocations import Guard
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import Conflict
from schemas.placement import Allocation


def keep_group(reading: Reading, txn: Txn, before: Allocation | None, after: Allocation | None) -> None:
    """A server that is in a group stays within the group's hard policy, and the group knows its hosts.

    Raises Conflict.
    """
    held = after or before
    if held is None or held.group is None:
        return
    key = Global.GROUPS(held.group)
    stored = reading.get(key)
    if stored is None:  # deleted since: its servers are free, and it must not come back unseen
        txn.absent(key)
        return
    written = txn.writes.get(key.path)
    group = written.value if written else stored.value  # another member may be in this transaction
    if after is None:
        txn.replace(stored, placed(group, held.consumer, ()))  # it stays a member until it is deleted
        return
    hosts = _hosts(reading, after.resources)
    for host in hosts:
        why = violation(group, after.consumer, host)
        if why:
            raise Conflict(f"Server group {group.uuid} ({group.policy}) of consumer {after.consumer}: {host} is {why}.")
    txn.replace(stored, placed(group, after.consumer, hosts))


def _hosts(reading: Reading, providers: Iterable[str]) -> list[str]:
    """Those whose providers these are."""
    found = []
    for uuid in providers:
        stored = reading.get(Global.PROVIDERS(uuid))
        if stored is not None and stored.value.host is not None:
            found.append(stored.value.host)
    return found


GUARDS: Final[tuple[Guard, ...]] = (keep_group,)
