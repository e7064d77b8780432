"""Keeps a Forest current by one watch of all of placement's keys."""

import asyncio
from typing import TypeVar

from control.placement.families import (
    FamiliesFollower,
    allocations_of,
    looked_up,
    parted,
    providers_of,
    usages_of,
)
from control.placement.forest import Forest
from kv.keys import Global, Key
from kv.store import Store
from kv.txn import Stored
from schemas.errors import StoreUnavailable
from schemas.placement import ResourceClass, Trait, UsedAggregate

R = TypeVar("R")


class View(FamiliesFollower):
    """`run` keeps it current. Questions are answered on `await view.current()`; what was committed is `learn`ed."""

    def __init__(self, store: Store) -> None:
        self.forest = Forest()
        self.traits: dict[str, Stored[Trait]] = {}
        """the custom ones by name"""
        self.classes: dict[str, Stored[ResourceClass]] = {}
        """the custom ones by name"""
        self.used_aggregates: dict[str, Stored[UsedAggregate]] = {}
        """by uuid, those that a provider was ever put into through the API"""
        families = {
            **providers_of(self.forest),
            **usages_of(self.forest),
            **allocations_of(self.forest),
            **looked_up(Global.TRAITS, self.traits),
            **looked_up(Global.RESOURCE_CLASSES, self.classes),
            **looked_up(Global.USED_AGGREGATES, self.used_aggregates),
            **looked_up(Global.PROVIDER_NAMES, {}),
            **looked_up(Global.PROVIDER_CHILDREN, {}),
            **looked_up(Global.ERASURES, {}),
        }
        super().__init__(store, Global.PLACEMENT, families, self.forest.forget_deletions)
        self._reading: asyncio.Task[int] | None = None
        """the read of the revision that is to be sent next or was not sent yet"""
        self._last_read: asyncio.Task[int] | None = None
        self._lags = False
        """the revision last read was ahead of the watch: other keys than these are written"""

    async def current(self) -> Forest:
        """The forest, at least as new as the moment of the call. All who ask before the next read is sent share it.

        Raises StoreUnavailable when etcd or its watch does not answer in time.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._last_read), name="placement's revision")
        revision = await asyncio.shield(self._reading)
        if self.revision < revision:
            self._lags = True
            try:
                async with asyncio.timeout(self._store.etcd.timeout):
                    await self.wait_until(revision)
            except TimeoutError:
                raise StoreUnavailable("placement's watch does not follow etcd") from None
        return self.forest

    def get(self, key: Key[R], *, whole: bool = True) -> Stored[R] | None:
        """One of placement's records as last heard of; unless it is to be `whole`, a provider's traits are left out.
        Raises KeyError when it is none of placement's."""
        stem, name = parted(key.path)
        family = self._families[stem]
        found: Stored[R] | None = family.get(name) if whole else family.known(name)
        return found

    async def _read(self, before: asyncio.Task[int] | None) -> int:
        """One at a time: while one is under way, those who come meanwhile gather for the next."""
        if before is not None:
            await asyncio.wait([before])
        self._last_read, self._reading = self._reading, None
        if self._lags:
            self._lags = False
            self.ask()  # asked for at the same time, the watch's progress takes no time of its own
        return await self._store.revision()
