"""A place of the simulated site: one etcd and one NATS server, and each process's way to them.

what goes wrong                   how
etcd is frozen (SIGSTOP)          `Place.freeze`, `thaw`: nothing is answered; half of the writes apply after the thaw
etcd is full                      `Place.full`: what writes or grants is refused with NOSPACE
one process is cut off            `Link.cut`: its calls and streams hang, or with `refuse` end at once
one process's member is silent    `Link.silent`: its streams say nothing, while its calls go well
streams are opened again          `Place.cluster.restart()`, or `Twin.disconnect()` for one process
the history is compacted          `Place.cluster.compact_all`
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import grpc
from aetcd import rpc
from attrs import define, evolve, field

from kv.twin.cluster import Cluster
from kv.twin.faults import Faults, Late, Lost, Odds
from kv.twin.mvcc import Change
from kv.twin.refusals import refused
from tests.sim.bus import Broker
from tests.sim.loop import Process, outside

NO_SPACE: Final = (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
STREAMS: Final = frozenset({"watch", "keepalive"})

OnChanges = Callable[[str, list[Change]], None]
"""(place, what one transaction changed)"""


class SimCluster(Cluster):
    """Its timers belong to no process: a lease runs out though the process that wound the clock is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self.on_changes: Callable[[list[Change]], None] = lambda _: None
        self._held: list[tuple[Callable[[Any], Any], Any]] = []
        """writes that came in while it was frozen and whose callers have given up"""

    def apply_later(self, seconds: float, method: Any, request: Any) -> None:
        if self.frozen:
            self._held.append((method, request))
        else:
            outside(super().apply_later, seconds, self._unless_frozen(method), request)

    def compact_all(self) -> None:
        """... that is not compacted yet."""
        if self.revision > self._mvcc.compacted:
            self.compact(self.revision)

    def thaw(self) -> None:
        self.frozen = False
        held, self._held = self._held, []
        for method, request in held:
            outside(super().apply_later, 0.0, method, request)

    def _unless_frozen(self, method: Any) -> Any:
        def apply(request: Any) -> None:
            if self.frozen:
                self._held.append((method, request))
            else:
                method(request)

        return apply

    def _wind(self) -> None:
        outside(super()._wind)

    def _commit(self) -> None:
        changes = self._mvcc.commit()
        if changes:
            self._watches.publish(self._mvcc, changes)
            self.on_changes(changes)


@define(eq=False)
class Link(Faults):
    """One process's way to one etcd."""

    place: "Place"
    random: Random
    process: Process | None
    cut: bool = False
    refuse: bool = False
    """while it is cut: calls end at once instead of hanging"""
    silent: bool = False
    """its streams say nothing"""
    _opened: list[asyncio.Future[None]] = field(factory=list)

    async def before(self, call: str, request: Any) -> None:
        if self.place.cluster.frozen and call == "txn" and self._happens(0.5):
            raise Late(0.0)  # applied after the thaw
        await self._pass(call)
        odds = self.place.odds
        await self._delay(odds)
        if self._happens(odds.lost_before):
            raise Lost
        if self._happens(odds.late):
            raise Late(self.random.uniform(0, odds.late_delay))
        await self._pass(call)
        if self.place.full and (call == "grant" or (call == "txn" and _puts(request))):
            raise refused(NO_SPACE)

    async def after(self, call: str, answer: Any) -> None:
        await self._delay(self.place.odds)
        await self._pass(call)
        if self._happens(self.place.odds.lost_after):
            raise Lost

    def wake(self) -> None:
        """What held its calls back may be over."""
        opened, self._opened = self._opened, []
        for future in opened:
            if not future.done():
                future.set_result(None)

    async def _pass(self, call: str) -> None:
        """Returns once the call can get through."""
        while self.cut or self.place.cluster.frozen or (self.silent and call in STREAMS):
            if self.cut and self.refuse:
                raise Lost
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._opened.append(future)
            await future

    async def _delay(self, odds: Odds) -> None:
        longest = odds.slow_delay if self._happens(odds.slow) else odds.usual_delay
        await asyncio.sleep(self.random.uniform(0, longest))

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance


@define(eq=False)
class Place:
    """The global one, or a cell's."""

    name: str
    broker: Broker
    odds: Odds = field(factory=Odds)
    full: bool = False
    cluster: SimCluster = field(factory=SimCluster)
    links: dict[Link, None] = field(factory=dict)

    @property
    def whole(self) -> bool:
        """Neither its etcd nor its NATS is away."""
        return not (self.cluster.frozen or self.full or self.broker.down)

    def link(self, random: Random, process: Process | None) -> Link:
        link = Link(self, random, process)
        self.links[link] = None
        return link

    def get(self, key: bytes) -> Any:
        """The KeyValue, or None."""
        found = self.cluster.range(rpc.RangeRequest(key=key)).kvs
        return found[0] if found else None

    def write(self, key: bytes, value: bytes, lease: int = 0) -> None:
        """As an operator's hand in the store."""
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))
        self.cluster.txn(rpc.TxnRequest(success=[put]))

    def freeze(self) -> None:
        self.cluster.frozen = True

    def thaw(self) -> None:
        self.cluster.thaw()
        self.wake()

    @contextmanager
    def frozen(self) -> Generator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def wake(self) -> None:
        for link in list(self.links):
            link.wake()

    def calm(self) -> None:
        """No more faults."""
        self.odds = evolve(self.odds, lost_before=0.0, lost_after=0.0, late=0.0, slow=0.0)
        self.full = self.broker.down = False
        self.broker.cut.clear()
        for link in self.links:
            link.cut = link.refuse = link.silent = False
        self.thaw()

    def forget(self, process: Process) -> None:
        """It has ended."""
        for link in [link for link in self.links if link.process is process]:
            del self.links[link]
        self.broker.drop(process)


def _puts(request: rpc.TxnRequest) -> bool:
    """Whether any branch writes: what only deletes is taken by a full etcd too."""
    for operation in (*request.success, *request.failure):
        kind = operation.WhichOneof("request")
        if kind == "request_put" or (kind == "request_txn" and _puts(operation.request_txn)):
            return True
    return False
