"""What happens around every commit of the simulated site: a hook sees each transaction before it is sent."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

from kv.store import Store
from kv.txn import Txn

Hook = Callable[[Store, Txn], Awaitable[None]]


@contextmanager
def hooked(hook: Hook) -> Generator[None]:
    """Awaits `hook` before every commit of any store: it may take its time, look at the transaction, or change it."""
    commit: Any = Store.commit

    async def with_hook(self: Store, txn: Txn) -> int:
        await hook(self, txn)
        revision: int = await commit(self, txn)
        return revision

    Store.commit = with_hook  # type: ignore[method-assign]  # the simulation stands between the product and its store
    try:
        yield
    finally:
        Store.commit = commit  # type: ignore[method-assign]
