"""Answers `kn.scheduler.select`: decides on the model, claims in etcd, decides again for those that lost."""

import asyncio
from collections import Counter, defaultdict
from typing import Final

import structlog
from attrs import evolve

from control.placement.resources import lacking, needed_by, with_claim
from control.scheduler.decide import Choice, Refusal, Wish, choose
from control.scheduler.feed import Feed
from control.scheduler.filters import load_filters
from control.scheduler.model import HostState
from control.top import Top
from kv.keys import Global
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.errors import CompareFailed, UnknownOutcome
from schemas.messages import Select, Selected, Selection, SelectItem
from schemas.operation import Line
from schemas.placement import Allocation
from schemas.shards import shard_of

log = structlog.get_logger()

TRIES: Final = 8


class Scheduler:
    """Stateless but for its model and the claims under way in this process."""

    def __init__(self, top: Top, feed: Feed) -> None:
        self._top = top
        self._feed = feed
        self._settings = top.settings.scheduler
        self._filters = load_filters(self._settings.enabled_filters)
        self._busy: Counter[str] = Counter()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Claims of this process on one host take turns, so that only other processes' can be lost to."""

    async def select(self, request: Select, _: str) -> Selected:
        decided = await asyncio.gather(*(self._place(item) for item in request.items))
        return Selected(tuple(d for d in decided if d is not None))

    async def _place(self, item: SelectItem) -> Selection | None:
        """None: the operation is not as the asker saw it, so it must look again."""
        for attempt in range(TRIES):
            decision = self._decide(item)
            if isinstance(decision, Refusal):
                return Selection(item.operation.server, refusal=decision.text())
            host = decision.host
            self._busy[host.host] += 1
            try:
                async with self._turns[host.host]:
                    return await self._claim(item, decision)
            except CompareFailed:
                if not await self._refresh(item, host):
                    return None
            except UnknownOutcome:
                return None  # the owner of the operation looks at what became of it
            finally:
                self._busy[host.host] -= 1
            await asyncio.sleep(0.001 * 2**attempt)
        return None

    def _decide(self, item: SelectItem) -> Choice | Refusal:
        results = item.operation.results
        wish = Wish(
            item.spec,
            cells=self._feed.usable_cells(),
            avoid=frozenset(results.get("tried", ())),
            prefer=frozenset(results.get("alternates", ())),
            busy=frozenset(host for host, count in self._busy.items() if count),
        )
        return choose(self._feed.model, wish, self._filters, self._settings.max_attempts - 1)

    async def _claim(self, item: SelectItem, choice: Choice) -> Selection:
        """One transaction that compares all that the choice stands on."""
        host, before = choice.host, item.operation
        assert host.mapping
        assert host.provider
        assert host.usages
        now = ambient.now()
        asked = needed_by(item.spec.flavor)
        provider = host.provider.value.uuid
        cell = self._top.cells.mappings.items.get(Global.CELLS(host.cell).path)
        if cell is None:
            raise CompareFailed(f"cell {host.cell} is gone")
        if lacking(host.provider.value.inventories, host.usages.value.used, asked):
            raise CompareFailed(f"{host.host} was filled meanwhile")
        operation = evolve(
            before,
            step="place",
            host=host.host,
            results={
                **before.results,
                "cell": host.cell,
                "node": host.provider.value.name,
                "provider": provider,
                "alternates": list(choice.alternates),
            },
            story=(*before.story, Line(now, f"claimed host {host.host} in {host.cell}")),
        )
        usages = with_claim(host.usages.value, asked)
        key = Global.OPERATIONS(shard_of(before.server), before.server)
        allocation = Allocation(before.server, item.spec.project, item.spec.user, {provider: asked}, now)
        txn = (
            Txn("claim")
            .at(key, item.revision)
            .put(key, operation)
            .create(Global.ALLOCATIONS(before.server), allocation)
            .replace(host.usages, usages)
            .unchanged(host.mapping)
            .unchanged(cell)
        )
        try:
            await self._top.store.commit(txn)
        except UnknownOutcome:
            await self._reload(host)
            raise
        self._feed.model.set_usages(provider, Stored(host.usages.key, usages, txn.revision, 0))
        return Selection(before.server, operation=operation, revision=txn.revision)

    async def _refresh(self, item: SelectItem, host: HostState) -> bool:
        """After a lost claim: takes the host's records fresh; False when it was the operation that changed."""
        current = await self._top.store.get(Global.OPERATIONS(shard_of(item.operation.server), item.operation.server))
        await self._reload(host)
        return current is not None and current.mod_revision == item.revision

    async def _reload(self, host: HostState) -> None:
        assert host.provider
        uuid = host.provider.value.uuid
        mapping, provider, usages = await self._top.store.read(
            Global.HOSTS(host.host), Global.PROVIDERS(uuid), Global.USAGES(uuid)
        )
        self._feed.model.set_mapping(host.host, mapping)
        self._feed.model.set_provider(uuid, provider)
        self._feed.model.force_usages(uuid, usages)
