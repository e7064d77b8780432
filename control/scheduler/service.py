"""Answers `kn.scheduler.select`: decides on the model, claims in etcd, decides again for those that lost.

What is asked at the same time is decided at the same time: equal requests are weighed once, claims on one host go into
one transaction, claims on different hosts go side by side. Until its claim is through, a choice counts as used in the
model of this process; only other processes' claims can be lost to.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from datetime import datetime
from random import Random
from typing import Any, Final

import structlog
from attrs import define, evolve, field

from bus.service import Service
from control.scheduler.claims import MAX_CLAIMS, MAX_SPREAD_CLAIMS, Claim, claimed
from control.scheduler.decide import Choice, Refusal, Taste, choose_many
from control.scheduler.doubt import SILENT_LEASES, may_fit
from control.scheduler.explain import explain
from control.scheduler.feed import Feed
from control.scheduler.pipeline import Pipeline, load_pipeline
from control.scheduler.request import Request, request_for
from control.top import Top
from kv.keys import Global
from runtime import ambient
from schemas.errors import CompareFailed, KilonovaError, UnknownOutcome
from schemas.messages import Explain, Explained, Select, Selected, Selection, SelectItem
from schemas.operation import Operation
from schemas.shards import shard_of
from schemas.subjects import SCHEDULER_EXPLAIN, SCHEDULER_SELECT

log = structlog.get_logger()

TRIES: Final = 10
_NOBODY: Final = Operation("", "", "", datetime.min, datetime.min)
"""for a question that is no server's"""
FRESH_SECONDS: Final = 1.0
"""how long a refusal waits for the watches to catch up with the request"""


@define(eq=False)
class _Wanted:
    """A build that waits for its host. `answer` is None when its operation is not as the asker saw it."""

    item: SelectItem
    answer: asyncio.Future[Selection | None]
    tries: int = 0
    fresh: bool = False
    """whether the model is as new as the request was looked at"""
    stale: bool = False
    """it was looked at, and the model is not"""
    hinted: dict[str, frozenset[str]] = field(factory=dict)
    likeness: object = None
    """equal for requests that differ in nothing that a decision looks at"""

    @property
    def server(self) -> str:
        return self.item.operation.server


class Scheduler:
    """Stateless but for its model and the claims under way in this process."""

    def __init__(self, top: Top, feed: Feed, pipeline: Pipeline | None = None, draw: Random | None = None) -> None:
        self._top = top
        self._feed = feed
        self._settings = top.settings
        self._pipeline = pipeline or load_pipeline(top.settings)
        self._draw = draw or Random()
        self._waiting: list[_Wanted] = []
        self._deciding: asyncio.Task[None] | None = None
        self._claims: dict[str, list[tuple[_Wanted, Claim]]] = {}
        """by lane; an entry means that its task runs"""
        self._groups: dict[str, list[_Wanted]] = {}
        """by group with a claim under way: its other members wait"""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, service: Service) -> None:
        await service.serve("select", SCHEDULER_SELECT, Select, self.select)
        await service.serve("explain", SCHEDULER_EXPLAIN, Explain, self.explain)

    async def select(self, request: Select, _: str) -> Selected:
        loop = asyncio.get_running_loop()
        wanted = [_Wanted(item, loop.create_future()) for item in request.items]
        await self._look_up_hints(wanted)
        for one in wanted:
            one.likeness = _likeness(one)
        self._enqueue(wanted)
        answers = await asyncio.gather(*(w.answer for w in wanted))
        return Selected(tuple(a for a in answers if a is not None))

    async def explain(self, request: Explain, _: str) -> Explained:
        """What would be decided now, on the present model."""
        wanted = _Wanted(SelectItem(_NOBODY, 0, request.spec), asyncio.get_running_loop().create_future())
        await self._look_up_hints([wanted])
        return explain(self._feed.model, self._request(wanted), self._pipeline, request.hosts)

    async def _look_up_hints(self, wanted: Iterable[_Wanted]) -> None:
        """Hosts of the servers that `same_host` and `different_host` name, from their claims."""
        for one in wanted:
            hints = one.item.spec.scheduler_hints
            named = [h for key in ("same_host", "different_host") for h in _list(hints.get(key))]
            for stored in await self._top.store.read_all([Global.ALLOCATIONS(s) for s in named]):
                if stored is not None:
                    states = (self._feed.model.of_provider(p) for p in stored.value.resources)
                    one.hinted[stored.value.consumer] = frozenset(s.host for s in states if s)

    def _enqueue(self, wanted: Iterable[_Wanted]) -> None:
        self._waiting += [w for w in wanted if not w.answer.done()]
        if self._waiting and (self._deciding is None or self._deciding.done()):
            self._deciding = self._start(self._decide_all(), "decisions")

    async def _decide_all(self) -> None:
        """Takes all that wait, in batches of equal requests, until nobody waits."""
        while self._waiting:
            batches: defaultdict[object, list[_Wanted]] = defaultdict(list)
            waiting, self._waiting = self._waiting, []
            for wanted in waiting:
                batches[wanted.likeness, wanted.tries].append(wanted)
            for batch in batches.values():
                try:
                    self._decide(batch)
                except Exception as error:  # such as a third party's filter: it must not stop the others
                    log.exception("decision failed")
                    for wanted in batch:
                        self._fail(wanted, KilonovaError(f"the scheduler failed: {error!r}"))
                await asyncio.sleep(0)  # a long queue does not keep the loop from the claims under way

    def _decide(self, batch: list[_Wanted]) -> None:
        first = batch[0]
        name = first.item.spec.group
        if name is not None and name in self._groups:
            self._groups[name] += batch
            return
        request = self._request(first)
        alone = self._pipeline.each_alone(request)
        if alone:
            batch, later = batch[:1], batch[1:]
            if name is not None:
                self._groups[name] = later
            else:
                self._waiting += later
        options = self._settings.filter_scheduler
        taste = Taste(
            alternates=self._settings.scheduler.max_attempts - 1,
            # Who lost a claim chooses among more, or the losers would meet again on the next best host.
            subset=max(options.host_subset_size, 2**first.tries if first.tries else 1),
            shuffle=options.shuffle_best_same_weighed_hosts,
            draw=self._draw,
            same_cell=self._settings.scheduler.alternates_in_same_cell,
        )
        decisions = choose_many(self._feed.model, request, self._pipeline, taste, len(batch))
        refused: list[tuple[_Wanted, Refusal]] = []
        for wanted, decision in zip(batch, decisions, strict=True):
            if isinstance(decision, Refusal):
                refused.append((wanted, decision))
            else:
                self._claim(wanted, request, decision)
        if refused:
            self._refuse(request, refused)

    def _request(self, wanted: _Wanted) -> Request:
        spec, results = wanted.item.spec, wanted.item.operation.results
        group = self._feed.model.groups.get(spec.group) if spec.group else None
        return request_for(
            spec,
            self._settings,
            self._feed.usable_cells(),
            avoid=frozenset(results.get("tried", ())),
            prefer=frozenset(results.get("alternates", ())),
            group=group.value if group else None,
            hinted=wanted.hinted,
        )

    def _refuse(self, request: Request, refused: list[tuple[_Wanted, Refusal]]) -> None:
        """Nothing is refused for good on a view that is not current, or for what is not known at present."""
        unseen = [wanted for wanted, _ in refused if not wanted.fresh]
        if unseen:
            self._start(self._refuse_when_fresh(unseen), "refusal")
        seen = [(wanted, refusal) for wanted, refusal in refused if wanted.fresh]
        silent = self._feed.silent_for(SILENT_LEASES * self._settings.conductor.host_lease_ttl)
        unknown = bool(seen) and may_fit(self._feed.model, request, self._pipeline, self._top.cells.enabled(), silent)
        for wanted, refusal in seen:
            text = f"{refusal.text()} (on a view that is not current)" if wanted.stale else refusal.text()
            self._answer(wanted, Selection(wanted.server, refusal=text, again=unknown or wanted.stale))

    async def _refuse_when_fresh(self, refused: list[_Wanted]) -> None:
        current = await self._feed.is_current(max(w.item.revision for w in refused), FRESH_SECONDS)
        for wanted in refused:
            wanted.fresh, wanted.stale = True, not current
            self._release_group(wanted)
        self._enqueue(refused)

    def _claim(self, wanted: _Wanted, request: Request, choice: Choice) -> None:
        self._feed.model.reserve(choice.resources)
        host, cells = choice.host, self._top.cells.mappings.items
        cell = cells.get(Global.CELLS(host.cell).path) if host.mapping else None
        claim = (wanted, Claim(wanted.item, request, choice, host.mapping, host.provider, cell))
        lane = self._lane(choice)
        if lane in self._claims:
            self._claims[lane].append(claim)
        else:
            self._claims[lane] = [claim]
            self._start(self._claim_in(lane), f"claims on {choice.host.host}")

    def _lane(self, choice: Choice) -> str:
        """Claims that write the same provider's usages take turns: those on one host, and all that take of a provider
        which serves several hosts."""
        own, nodes = choice.host.node, self._feed.model.forest.nodes
        assert own is not None
        return min((uuid for uuid in choice.resources if own not in nodes[uuid].line()), default=own.uuid)

    async def _claim_in(self, lane: str) -> None:
        """What came meanwhile goes together."""
        reserve = self._feed.model.reserve
        try:
            while waiting := self._claims[lane]:
                grouped = next((c for c in waiting if c[0].item.spec.group), None)
                most = MAX_CLAIMS if all(len(c.choice.resources) == 1 for _, c in waiting) else MAX_SPREAD_CLAIMS
                batch = [grouped] if grouped else waiting[:most]
                self._claims[lane] = [c for c in waiting if c not in batch]
                try:
                    await self._commit(batch)
                finally:
                    for _, claim in batch:
                        reserve(claim.choice.resources, -1)
        finally:
            for wanted, claim in self._claims.pop(lane):
                reserve(claim.choice.resources, -1)
                wanted.answer.cancel()

    async def _commit(self, batch: list[tuple[_Wanted, Claim]]) -> None:
        claims = [claim for _, claim in batch]
        model, spec = self._feed.model, batch[0][0].item.spec
        try:
            group = model.groups.get(spec.group) if spec.group else None
            zone = self._settings.scheduler.default_availability_zone
            done = claimed(claims, model.forest, group, ambient.now(), zone)
            await self._top.store.commit(done.txn)
        except CompareFailed:
            await self._lost(batch)
            return
        except UnknownOutcome:
            for wanted, _ in batch:  # the owner of the operation looks at what became of it
                self._answer(wanted, None)
            await self._reload(claims)
            return
        except KilonovaError as error:
            for wanted, _ in batch:
                self._fail(wanted, error)
            return
        revision = done.txn.revision
        self._feed.learn(done.txn)
        if group is not None and done.group is not None:
            model.set_group(done.group.uuid, evolve(group, value=done.group, mod_revision=revision))
        lost = [(wanted, claim) for wanted, claim in batch if claim in done.lost]
        for wanted, claim in batch:
            operation = done.operations.pop(wanted.server, None)
            if operation is not None:
                self._answer(wanted, Selection(wanted.server, operation=operation, revision=revision))
            elif claim not in done.lost:
                self._answer(wanted, None)  # asked for twice: only one of them may know that it was claimed
        if lost:
            await self._lost(lost)

    async def _lost(self, batch: list[tuple[_Wanted, Claim]]) -> None:
        """Takes fresh what was compared; who is still as he asked is decided again."""
        everyone = [wanted for wanted, _ in batch]
        try:
            await self._reload([claim for _, claim in batch])
            keys = [Global.OPERATIONS(shard_of(w.server), w.server) for w in everyone]
            current = await self._top.store.read_all(keys)
        except KilonovaError as error:
            for wanted in everyone:
                self._fail(wanted, error)
            return
        for wanted, operation in zip(everyone, current, strict=True):
            wanted.tries += 1
            same = operation is not None and operation.mod_revision == wanted.item.revision
            if not same or wanted.tries >= TRIES:
                self._answer(wanted, None)
            else:
                self._release_group(wanted)
                self._enqueue([wanted])

    async def _reload(self, claims: list[Claim]) -> None:
        """What a claim compares, as a linearizable read says."""
        store, model = self._top.store, self._feed.model
        hosts = list({claim.choice.host.host for claim in claims})
        providers = list({uuid for claim in claims for uuid in claim.choice.resources})
        for host, mapping in zip(hosts, await store.read_all([Global.HOSTS(h) for h in hosts]), strict=True):
            model.set_mapping(host, mapping)
        for uuid in providers:
            provider, usages = await store.read(Global.PROVIDERS(uuid), Global.USAGES(uuid))
            model.set_provider(uuid, provider)
            model.set_usages(uuid, usages)
        group = claims[0].item.spec.group
        if group is not None:
            model.set_group(group, await store.get(Global.GROUPS(group)))

    def _answer(self, wanted: _Wanted, selection: Selection | None) -> None:
        if not wanted.answer.done():
            wanted.answer.set_result(selection)
        self._release_group(wanted)

    def _fail(self, wanted: _Wanted, error: KilonovaError) -> None:
        if not wanted.answer.done():
            wanted.answer.set_exception(error)
        self._release_group(wanted)

    def _release_group(self, wanted: _Wanted) -> None:
        """The next member of its group may be decided."""
        name = wanted.item.spec.group
        if name is not None and name in self._groups:
            self._enqueue(self._groups.pop(name))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _list(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)] if value else []


def _likeness(wanted: _Wanted) -> object:
    spec, results = wanted.item.spec, wanted.item.operation.results
    return (
        (spec.project, spec.group, spec.availability_zone, spec.forced_host, spec.requested_host),
        (repr(spec.flavor), repr(spec.image), repr(spec.scheduler_hints), repr(wanted.hinted)),
        (tuple(results.get("tried", ())), tuple(results.get("alternates", ()))),
    )
