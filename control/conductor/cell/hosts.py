"""The hosts of a cell: sessions of their agents, their facts, who lives."""

import asyncio
from collections.abc import Sequence

import structlog
from attrs import evolve

from bus.client import Bus
from control.conductor.cell.observer import Observer
from kv.cache import Cache, Change
from kv.keys import Cell
from kv.leases import KeepAlive
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import Unavailable
from schemas.host import Alive, FailedBuilds, Host, Service
from schemas.messages import Beat, FromAgent, Hello, HostCall, Probe, ProbeReply, ToAgent
from schemas.settings import Settings
from schemas.shards import shard_of
from schemas.subjects import host_verb

log = structlog.get_logger()

BINARY = "nova-compute"
"""What clients know a host's agent as."""


AT_ONCE = 32
"""starts and inventories that are worked on at a time; more only makes each of them slower"""
QUEUE = 128
"""... and those that may wait for it"""


class Hosts:
    """`services` and `alive` are watched by every conductor; registering is the shard owner's."""

    def __init__(self, store: Store, bus: Bus, shards: Shards, settings: Settings, observer: Observer) -> None:
        self.services = Cache(store, Cell.SERVICES.under(BINARY), self._service_changed)
        self.alive = Cache(store, Cell.ALIVE.under())
        self.failed = Cache(store, Cell.FAILED_BUILDS.under())
        self._store = store
        self._bus = bus
        self._shards = shards
        self._observer = observer
        self._cell = settings.cell.name
        self._settings = settings.conductor
        self._keepalive = KeepAlive(store.etcd)
        self._since: float | None = None
        """when this process began to listen, in the loop's seconds"""
        self._renewed: dict[str, float] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._ends: dict[tuple[str, str], asyncio.Future[None]] = {}
        """of sessions that somebody waits for the end of, by host and session"""

    def session(self, host: str) -> str | None:
        service = self.services.get(Cell.SERVICES(BINARY, host))
        return service.session if service else None

    def release(self, host: str) -> int:
        """Of the records and messages, that its agent knows."""
        service = self.services.get(Cell.SERVICES(BINARY, host))
        return service.version if service else RELEASE

    def count_build(self, txn: Txn, host: str, *, failed: bool) -> None:
        """Adds to a build's last transaction what the scheduler weighs its host by; usually nothing. Builds that end
        at the same time may count as one."""
        key = Cell.FAILED_BUILDS(host)
        known = self.failed.get(key)
        if failed:
            txn.put(key, FailedBuilds((known.count if known else 0) + 1))
        elif known:
            txn.delete(key)

    def end_of(self, host: str, session: str) -> asyncio.Future[None]:
        """Done when the host has another session than this, or none. It is everybody's: to be waited for only."""
        end = self._ends.get((host, session))
        if end is None:
            end = asyncio.get_running_loop().create_future()
            if self.session(host) == session:
                self._ends[host, session] = end
            else:
                end.set_result(None)
        return end

    async def demand_inventory(self, host: str) -> None:
        """Has the host look at all of its guests: a command has met what the records do not say."""
        await self._bus.hint(host_verb(self._cell, host, "call"), HostCall(self._cell, host, "inventory", ""))

    def is_alive(self, host: str) -> bool:
        return Cell.ALIVE(host).path in self.alive.items

    def is_down(self, host: str) -> bool:
        """Whether it was not heard of for as long as a lease lasts. When all conductors were away for longer than that,
        every host's lease has run out, whoever lives: the first one back gives them the time to be heard."""
        listened = asyncio.get_running_loop().time() - self._since if self._since is not None else 0.0
        return self.alive.connected and not self.is_alive(host) and listened > self._settings.host_lease_ttl

    async def pulse(self, beats: Sequence[Beat]) -> ToAgent:
        """Signs of life of several hosts."""
        known = [beat for beat in beats if self.session(beat.host) == beat.session]
        due = [beat for beat in known if not self._is_fresh(beat.host, beat.session)]
        renewed = await asyncio.gather(*(self._renew(beat.host, beat.session) for beat in due))
        lost = {beat.host for beat, alive in zip(due, renewed, strict=True) if not alive}
        heard = {beat.host for beat in known} - lost
        return ToAgent(unknown=tuple(beat.host for beat in beats if beat.host not in heard))

    async def hello(self, message: FromAgent, hello: Hello) -> ToAgent:
        """Answers an agent's start or inventory. Raises Unavailable when too many others are being answered: who asks
        later is served sooner than who waits until nobody listens any more."""
        if self._waiting >= QUEUE:
            raise Unavailable("too many hosts start or take stock at once: say it again")
        self._waiting += 1
        try:
            async with self._room:
                return await self._hello(message, hello)
        finally:
            self._waiting -= 1

    async def _hello(self, message: FromAgent, hello: Hello) -> ToAgent:
        if hello.kind == "start":
            known = await self._store.get(Cell.HOSTS(message.host))
            refusal = await self._register(message, hello, known)
            if refusal:
                return ToAgent(applied=False, refusal=refusal)
            if known and hello.facts and hello.resume_guests and known.value.facts.boot_id != hello.facts.boot_id:
                await self._observer.resume(message.host, hello.guests)
        elif self.session(message.host) != message.session or not await self._renew(message.host, message.session):
            return ToAgent(applied=False, unknown_session=True)
        await self._record_facts(message.host, hello)
        return await self._observer.compare(message.host, hello)

    async def _register(self, message: FromAgent, hello: Hello, before: Stored[Host] | None) -> str | None:
        """Records a new session. Returns why it must not, if so."""
        host = message.host
        if not RELEASE - 1 <= hello.version <= RELEASE:
            return (
                f"the agent knows release {hello.version} of the messages, this cell's conductor {RELEASE} and the one "
                "before: upgrade the conductors first, then the agents, one release at a time"
            )
        key = Cell.SERVICES(BINARY, host)
        known = await self._store.get(key)
        if known and known.value.host_id != hello.host_id:
            return (
                f"another machine, with host id {known.value.host_id}, is registered as {host}, and this one has "
                f"{hello.host_id}: give this one another name, or, if it takes the other's place, delete the other's "
                "compute service, or write the other's host id into host_id in this agent's state_dir"
            )
        subject = host_verb(self._cell, host, "probe")
        probed = await self._bus.request(subject, Probe(message.session), ProbeReply, 2.0, hello.version)
        if (probed.session, probed.host_id) != (message.session, hello.host_id):
            raise Unavailable(f"another session of {host} answers yet")
        now = ambient.now()
        service = Service(
            host=host,
            binary=BINARY,
            uuid=known.value.uuid if known else ambient.new_uuid(),
            host_id=hello.host_id,
            session=message.session,
            version=hello.version,
            created=known.value.created if known else now,
            updated=now,
        )
        lease = await self._store.etcd.grant(self._settings.host_lease_ttl)
        txn = Txn("register host")
        if known:
            txn.replace(known, service)
        else:
            txn.create(key, service)
        txn.put(Cell.ALIVE(host), Alive(message.session, now), lease)
        if hello.facts and before is None:
            txn.put(Cell.HOSTS(host), Host(host, hello.host_id, hello.facts, now))
        revision = await self._store.commit(self._shards.guard(txn, shard_of(host)))
        await asyncio.wait_for(self.services.wait_until(revision), 5)
        await asyncio.wait_for(self.alive.wait_until(revision), 5)
        log.info("host registered", host=host, session=message.session)
        return None

    async def _record_facts(self, host: str, hello: Hello) -> None:
        """Only when they changed: an idle site writes nothing."""
        stored = await self._store.get(Cell.HOSTS(host))
        if hello.facts is None or (stored and stored.value.facts == hello.facts):
            return
        now = ambient.now()
        txn = Txn("host facts")
        if stored:
            txn.replace(stored, evolve(stored.value, uuid=hello.host_id, facts=hello.facts, reported=now))
        else:
            txn.create(Cell.HOSTS(host), Host(host, hello.host_id, hello.facts, now))
        await self._store.commit(self._shards.guard(txn, shard_of(host)))

    def _is_fresh(self, host: str, session: str) -> bool:
        """Whether this session's lease has more than half of its time left."""
        stored = self.alive.items.get(Cell.ALIVE(host).path)
        if stored is None or stored.value.session != session:
            return False
        age = asyncio.get_running_loop().time() - self._renewed.get(host, 0.0)
        return age < self._settings.host_lease_ttl / 2

    async def _renew(self, host: str, session: str) -> bool:
        """Keeps the host's lease alive, once in half of its time. False: there is none any more."""
        if self._is_fresh(host, session):
            return True
        now = asyncio.get_running_loop().time()
        stored = self.alive.items.get(Cell.ALIVE(host).path)
        if stored is None or stored.value.session != session or await self._keepalive.renew(stored.lease) <= 0:
            return False
        self._renewed[host] = now
        return True

    def _service_changed(self, change: Change[Service]) -> None:
        old, new = change.old, change.new
        if old is None or (new is not None and new.value.session == old.value.session):
            return
        end = self._ends.pop((old.value.host, old.value.session), None)
        if end is not None:
            end.set_result(None)

    async def run(self) -> None:
        self._since = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.services.run())
            group.create_task(self.alive.run())
            group.create_task(self.failed.run())

    async def close(self) -> None:
        await self._keepalive.close()
