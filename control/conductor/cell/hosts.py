"""The hosts of a cell: sessions of their agents, inventories, liveness, strays."""

import asyncio

import structlog

from bus.client import Bus
from kv.cache import Cache, Change
from kv.keys import Cell
from kv.leases import KeepAlive
from kv.shards import Shards
from kv.store import Store
from kv.txn import Txn
from runtime import ambient
from schemas.codec import RELEASE
from schemas.errors import Unavailable
from schemas.guest import GuestState
from schemas.host import Alive, Host, Service
from schemas.messages import FromAgent, Hello, Probe, ProbeReply, Stray, ToAgent
from schemas.settings import Settings
from schemas.shards import shard_of
from schemas.subjects import host_verb

log = structlog.get_logger()

BINARY = "nova-compute"
"""What clients know a host's agent as."""


class Hosts:
    """`services` and `alive` are watched by every conductor; registering is the shard owner's."""

    def __init__(self, store: Store, bus: Bus, shards: Shards, settings: Settings) -> None:
        self.services = Cache(store, Cell.SERVICES.under(BINARY), self._service_changed)
        self.alive = Cache(store, Cell.ALIVE.under())
        self._store = store
        self._bus = bus
        self._shards = shards
        self._site = settings.site
        self._cell = settings.cell.name
        self._settings = settings.conductor
        self._keepalive = KeepAlive(store.etcd)
        self._renewed: dict[str, float] = {}
        self._changed: dict[str, asyncio.Event] = {}
        """by host; set once when its service record changes"""

    def session(self, host: str) -> str | None:
        service = self.services.get(Cell.SERVICES(BINARY, host))
        return service.session if service else None

    def release(self, host: str) -> int:
        """Of the records and messages, that its agent knows."""
        service = self.services.get(Cell.SERVICES(BINARY, host))
        return service.version if service else RELEASE

    async def session_ended(self, host: str, session: str) -> None:
        """Returns when the host has another session than this, or none."""
        while self.session(host) == session:
            await self._changed.setdefault(host, asyncio.Event()).wait()

    def is_alive(self, host: str) -> bool:
        return Cell.ALIVE(host).path in self.alive.items

    async def hello(self, message: FromAgent, hello: Hello) -> ToAgent:
        """Answers an agent's start, inventory or sign of life."""
        if hello.kind == "start":
            refusal = await self._register(message, hello)
            if refusal:
                return ToAgent(applied=False, refusal=refusal)
        elif self.session(message.host) != message.session or not await self._renew(message.host, message.session):
            return ToAgent(applied=False, unknown_session=True)
        if hello.kind == "beat":
            return ToAgent()
        if hello.kind == "inventory" and hello.facts:
            await self._record_facts(message.host, hello)
        return ToAgent(strays=await self.strays(message.host, hello.guests))

    async def strays(self, host: str, guests: tuple[GuestState, ...]) -> tuple[Stray, ...]:
        """Guests of our site that no record places on this host. The records are read after the guests were listed,
        and a server is recorded before it is spawned, so what is missing there is not to be here."""
        ours = {g.server: g.mark for g in guests if g.mark and g.mark.site == self._site}
        if not ours:
            return ()
        lines = await self._store.range(Cell.BY_HOST.under(host, ""))
        placed = {line.key.path.rsplit("/", 1)[1] for line in lines}
        return tuple(Stray(uuid, mark.generation) for uuid, mark in ours.items() if uuid not in placed)

    async def _register(self, message: FromAgent, hello: Hello) -> str | None:
        """Records a new session. Returns why it must not, if so."""
        host = message.host
        if not RELEASE - 1 <= hello.version <= RELEASE:
            return (
                f"the agent knows release {hello.version} of the messages, this cell's conductor {RELEASE} and the one "
                "before: upgrade the conductors first, then the agents, one release at a time"
            )
        key = Cell.SERVICES(BINARY, host)
        known, alive = await self._store.read(key, Cell.ALIVE(host))
        if known and known.value.host_id != hello.host_id and alive:
            return (
                f"another machine (host id {known.value.host_id}) already runs as {host}: give this one another name, "
                "or stop the other's agent and wait until it counts as down"
            )
        subject = host_verb(self._cell, host, "probe")
        probed = await self._bus.request(subject, Probe(), ProbeReply, 2.0, hello.version)
        if probed.session != message.session:
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
        if hello.facts:
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
        record = Host(host, hello.host_id, hello.facts, ambient.now())
        txn = Txn("host facts")
        if stored:
            txn.replace(stored, record)
        else:
            txn.create(Cell.HOSTS(host), record)
        await self._store.commit(self._shards.guard(txn, shard_of(host)))

    async def _renew(self, host: str, session: str) -> bool:
        """Keeps the host's lease alive, at most every third of its time. False: there is none any more."""
        stored = self.alive.items.get(Cell.ALIVE(host).path)
        if stored is None or stored.value.session != session:
            return False
        now = asyncio.get_running_loop().time()
        if now - self._renewed.get(host, 0.0) < self._settings.host_lease_ttl / 3:
            return True
        if await self._keepalive.renew(stored.lease) <= 0:
            return False
        self._renewed[host] = now
        return True

    def _service_changed(self, change: Change[Service]) -> None:
        event = self._changed.pop(change.key.path.rsplit("/", 1)[1], None)
        if event is not None:
            event.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.services.run())
            group.create_task(self.alive.run())

    async def close(self) -> None:
        await self._keepalive.close()
