"""Key pairs in the global store, and how many each user has."""

from attrs import evolve

from control.servers.commits import commit_settled, retried
from control.servers.quota import read_limits
from kv.keys import Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import Conflict, NotFound, QuotaExceeded
from schemas.flavor import KeyPair
from schemas.quota import Tally


async def all_keypairs(store: Store, user: str) -> list[KeyPair]:
    """By name."""
    return [s.value for s in await store.range(Global.KEYPAIRS.under(user, ""))]


async def get_keypair(store: Store, user: str, name: str) -> KeyPair:
    """Raises NotFound."""
    found = await store.get(Global.KEYPAIRS(user, name))
    if found is None:
        raise _missing(user, name)
    return found.value


async def add_keypair(store: Store, pair: KeyPair, project: str) -> None:
    """At most as many as the user's limit in this project. Raises Conflict for a name that is taken, QuotaExceeded."""
    key, counter = Global.KEYPAIRS(pair.user, pair.name), Global.KEYPAIR_TALLIES(pair.user)

    async def once() -> None:
        known, tally = await store.read(key, counter)
        records = await read_limits(store, project, pair.user)
        limit = records.limits.user["key_pairs"]
        if known is not None:
            raise Conflict(f"Key pair '{pair.name}' already exists.")
        if 0 <= limit <= (tally.value.count if tally else 0):
            raise QuotaExceeded("Quota exceeded, too many key pairs.")
        txn = records.compared(Txn("create key pair")).create(key, pair)

        async def applied() -> bool:
            return await store.get(key) is not None

        await commit_settled(store, txn, _count(txn, counter_of(pair.user, tally), 1), applied)

    await retried(once)


async def remove_keypair(store: Store, user: str, name: str) -> None:
    """Raises NotFound."""
    key = Global.KEYPAIRS(user, name)

    async def once() -> None:
        known, tally = await store.read(key, Global.KEYPAIR_TALLIES(user))
        if known is None:
            raise _missing(user, name)
        txn = Txn("delete key pair").remove(known)

        async def applied() -> bool:
            return await store.get(key) is None

        await commit_settled(store, txn, _count(txn, counter_of(user, tally), -1), applied)

    await retried(once)


def counter_of(user: str, stored: Stored[Tally] | None) -> Stored[Tally]:
    """The user's counter; revision 0 while there is none."""
    return stored or Stored(Global.KEYPAIR_TALLIES(user), Tally(), 0, 0)


def _count(txn: Txn, tally: Stored[Tally], more: int) -> Stored[Tally]:
    txn.replace(tally, evolve(tally.value, count=max(0, tally.value.count + more)))
    return tally


def _missing(user: str, name: str) -> NotFound:
    return NotFound(f"Keypair {name} not found for user {user}")
