"""The hosts of a cell: sessions of their agents, their facts, who lives."""

import asyncio
from collections.abc import Sequence

import structlog
from attrs import evolve

from bus.client import Bus
from bus.service import SKEW_SECONDS
from control.conductor.cell.observer import Observer
from control.conductor.cell.silence import RENEWAL, Silence, granted
from kv.cache import Cache, Change
from kv.keys import Cell
from kv.leases import KeepAlive
from kv.shards import Shards
from kv.store import Store
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import BusUnavailable, KilonovaError, NobodyListens, StoreUnavailable, Unavailable
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
PROBE_SECONDS = 1.0
LISTEN_SECONDS = 0.5
"""between looks at whether hosts could be heard"""
STANDSTILL_SECONDS = 2.0
"""between two such looks, from which on this process counts as having stood still"""
REGISTERING = "registering: its guests are compared with the cell's records"


class Hosts:
    """`services` and `alive` are watched by every conductor; registering is the shard owner's."""

    def __init__(self, store: Store, bus: Bus, shards: Shards, settings: Settings, observer: Observer) -> None:
        self.services = Cache(store, Cell.SERVICES.under(BINARY), self._service_changed)
        self.alive = Cache(store, Cell.ALIVE.under(), self._alive_changed)
        self.failed = Cache(store, Cell.FAILED_BUILDS.under())
        self._store = store
        self._bus = bus
        self._shards = shards
        self._observer = observer
        self._cell = settings.cell.name
        self._settings = settings.conductor
        self._keepalive = KeepAlive(store.etcd)
        self._silence = Silence(settings.conductor.host_lease_ttl)
        self._renewed: dict[str, float] = {}
        """loop times of before the last renewals"""
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

    async def is_down(self, host: str) -> bool:
        """Whether it runs nothing that was not acknowledged, and carries out nothing, as far as can be known from here:
        its lease ended long enough ago, by a process that could hear it all the time, and it does not answer when it is
        asked directly. A transaction that is decided on it compares that there is no lease."""
        now = asyncio.get_running_loop().time()
        if not self.alive.connected or self.is_alive(host) or not self._silence.is_down(host, now):
            return False
        return not await self._answers(host)

    async def _answers(self, host: str) -> bool:
        session = self.session(host)
        if session is None:
            return False
        try:
            subject = host_verb(self._cell, host, "probe")
            await self._bus.request(subject, Probe(session), ProbeReply, PROBE_SECONDS, self.release(host))
        except (NobodyListens, BusUnavailable):
            return False
        except KilonovaError:
            return True
        return True

    async def pulse(self, speaker: str, beats: Sequence[Beat]) -> ToAgent:
        """Signs of life of several hosts, sent on the subject of `speaker`. A lease is renewed before the answer grants
        its host time."""
        known = [beat for beat in beats if self._may_speak(speaker, beat)]
        due = [beat for beat in known if not self._is_fresh(beat.host, beat.session)]
        renewed = await asyncio.gather(*(self._renew(beat.host, beat.session) for beat in due))
        lost = {beat.host for beat, alive in zip(due, renewed, strict=True) if not alive}
        heard = [beat for beat in known if beat.host not in lost]
        for beat in heard:
            await self._note_hypervisor(beat)
        hosts = {beat.host for beat in heard}
        unknown = tuple(beat.host for beat in beats if beat.host not in hosts)
        return ToAgent(unknown=unknown, granted=granted(self._settings.host_lease_ttl))

    def _may_speak(self, speaker: str, beat: Beat) -> bool:
        """A host is believed of itself, and of hosts whose registration has named it as their speaker."""
        service = self.services.get(Cell.SERVICES(BINARY, beat.host))
        return (
            service is not None
            and service.session == beat.session
            and (beat.host == speaker or service.speaker == speaker)
        )

    async def _note_hypervisor(self, beat: Beat) -> None:
        """A host without a hypervisor is up for nobody, from the heartbeat that says so to the one that does not."""
        stored = self.alive.items.get(Cell.ALIVE(beat.host).path)
        if stored is None or bool(stored.value.unready) == bool(beat.hypervisor):
            return
        txn = Txn("host readiness").replace(stored, evolve(stored.value, unready=beat.hypervisor))
        await self._store.commit(self._shards.guard(txn, shard_of(beat.host)))
        log.warning("hypervisor lost" if beat.hypervisor else "hypervisor found again", host=beat.host)

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
        starts = hello.kind == "start"
        if starts:
            known = await self._store.get(Cell.HOSTS(message.host))
            refusal = await self._register(message, hello, known)
            if refusal:
                return ToAgent(applied=False, refusal=refusal)
            if known and hello.facts and hello.resume_guests and known.value.facts.boot_id != hello.facts.boot_id:
                await self._observer.resume(message.host, hello.guests)
        elif self.session(message.host) != message.session or not await self._renew(message.host, message.session):
            return ToAgent(applied=False, unknown_session=True)
        await self._record_facts(message.host, hello)
        answer = await self._observer.compare(message.host, hello, everything=starts)
        if starts and answer.strays:
            return answer  # it starts again when they are gone
        if starts:
            await self._ready(message.host)
        return evolve(answer, granted=granted(self._settings.host_lease_ttl))

    async def _register(self, message: FromAgent, hello: Hello, before: Stored[Host] | None) -> str | None:
        """Records a new session. Returns why it must not, if so. The host has a lease from then on, so that nothing is
        given away that it has when its guests are compared; it is up when nothing is left that is not its own."""
        host = message.host
        if not RELEASE - 1 <= hello.version <= RELEASE:
            return (
                f"the agent knows release {hello.version} of the messages, this cell's conductor {RELEASE} and the one "
                "before: upgrade the conductors first, then the agents, one release at a time"
            )
        now = ambient.now()
        if hello.clock is not None and abs(skew := hello.clock - now.timestamp()) > SKEW_SECONDS:
            return (
                f"the clock of {host} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the conductor's, or "
                f"what it sends takes so long; at most {SKEW_SECONDS:g} s are allowed: have both synchronised (NTP)"
            )
        key = Cell.SERVICES(BINARY, host)
        known = await self._store.get(key)
        if known and known.value.host_id != hello.host_id:
            return (
                f"another machine, with host id {known.value.host_id}, is registered as {host}, and this one has "
                f"{hello.host_id}: give this one another name, or, if it takes the other's place, delete the other's "
                "compute service, or write the other's host id into host_id in this agent's state_dir"
            )
        if await self._is_registering(known, message):
            return None
        subject = host_verb(self._cell, host, "probe")
        probed = await self._bus.request(subject, Probe(message.session), ProbeReply, 2.0, hello.version)
        if (probed.session, probed.host_id) != (message.session, hello.host_id):
            raise Unavailable(f"another session of {host} answers yet")
        service = Service(
            host=host,
            binary=BINARY,
            uuid=known.value.uuid if known else ambient.new_uuid(),
            host_id=hello.host_id,
            session=message.session,
            version=hello.version,
            created=known.value.created if known else now,
            updated=now,
            speaker=hello.speaker if hello.speaker != host else "",
        )
        granted_at = asyncio.get_running_loop().time()
        lease = await self._store.etcd.grant(self._settings.host_lease_ttl)
        txn = Txn("register host")
        if known:
            txn.replace(known, service)
        else:
            txn.create(key, service)
        unready = REGISTERING if hello.guests or hello.jobs else ""
        txn.put(Cell.ALIVE(host), Alive(message.session, now, unready), lease)
        if hello.facts and before is None:
            txn.put(Cell.HOSTS(host), Host(host, hello.host_id, hello.facts, now))
        revision = await self._store.commit(self._shards.guard(txn, shard_of(host)))
        await asyncio.wait_for(self.services.wait_until(revision), 5)
        await asyncio.wait_for(self.alive.wait_until(revision), 5)
        self._renewed[host] = granted_at
        log.info("host registered", host=host, session=message.session)
        return None

    async def _is_registering(self, known: Stored[Service] | None, message: FromAgent) -> bool:
        """Whether this session was registered by an earlier start, and only its guests were not in order yet."""
        return (
            known is not None
            and known.value.session == message.session
            and await self._renew(message.host, message.session)
        )

    async def _ready(self, host: str) -> None:
        """From now on it is up."""
        stored = self.alive.items.get(Cell.ALIVE(host).path)
        if stored is None:
            raise Unavailable(f"the lease of {host} ran out while it registered: say it again")
        if not stored.value.unready:
            return
        txn = Txn("host readiness").replace(stored, evolve(stored.value, unready=""))
        revision = await self._store.commit(self._shards.guard(txn, shard_of(host)))
        await asyncio.wait_for(self.alive.wait_until(revision), 5)

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
        """Whether this session's lease was renewed so lately that a grant ends before it."""
        stored = self.alive.items.get(Cell.ALIVE(host).path)
        if stored is None or stored.value.session != session:
            return False
        age = asyncio.get_running_loop().time() - self._renewed.get(host, 0.0)
        return age < self._settings.host_lease_ttl * RENEWAL

    async def _renew(self, host: str, session: str) -> bool:
        """Keeps the host's lease alive. False: there is none any more."""
        if self._is_fresh(host, session):
            return True
        now = asyncio.get_running_loop().time()
        stored = self.alive.items.get(Cell.ALIVE(host).path)
        if stored is None or stored.value.session != session:
            return False
        try:
            left = await self._keepalive.renew(stored.lease)
        except StoreUnavailable:
            self._silence.unable(asyncio.get_running_loop().time())
            raise
        if left <= 0:
            return False
        self._renewed[host] = now
        return True

    def _alive_changed(self, change: Change[Alive]) -> None:
        host = change.key.path.rsplit("/", 1)[1]
        if change.new is not None:
            self._silence.came(host)
        elif self._silence.went(host, asyncio.get_running_loop().time(), len(self.alive.items)):
            log.warning("most hosts have fallen silent together: none is held for down yet")

    async def _listen(self) -> None:
        """Starts the count of silence again whenever this process can not hear, or not renew, or stood still."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            now = loop.time()
            hears = self._bus.connected and self.alive.connected and bool(self._shards.fences)
            if not hears or now - before > STANDSTILL_SECONDS:
                self._silence.unable(now)
            before = now
            await asyncio.sleep(LISTEN_SECONDS)

    def _service_changed(self, change: Change[Service]) -> None:
        old, new = change.old, change.new
        if old is None or (new is not None and new.value.session == old.value.session):
            return
        end = self._ends.pop((old.value.host, old.value.session), None)
        if end is not None:
            end.set_result(None)

    async def run(self) -> None:
        self._silence.unable(asyncio.get_running_loop().time())
        async with asyncio.TaskGroup() as group:
            group.create_task(self.services.run())
            group.create_task(self.alive.run())
            group.create_task(self.failed.run())
            group.create_task(self._listen())

    async def close(self) -> None:
        await self._keepalive.close()
