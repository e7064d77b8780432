"""Calls to etcd over the generated stubs: a time-out on each, no blind retry, errors of our tree."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
from aetcd import rpc
from attrs import frozen

from kv.backend import NO_ANSWER, STALE_TOKEN, Stream, explain
from kv.identity import Identity, end_process
from kv.metrics import CALLS, FAILURES, MOVES
from schemas.errors import StoreUnavailable
from schemas.settings import StoreSettings, TlsFiles

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]

_OPTIONS: Final = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
]
_HAS_LEADER: Final = ("hasleader", "true")
"""A stream ends when its member loses its leader: on a member that was cut off it would be silent, or know old news."""
_NOT_SENT: Final = "failed to connect to all addresses"
"""gRPC's words for a call that never left: the only failure after which a write may be said again"""


_LINEARIZABLE: Final = frozenset({"range", "read", "txn"})
"""Calls whose answers bear a revision that never goes back"""
FRESH_SECONDS: Final = 1.0
"""Age of a token with which a stream may be opened"""


@frozen(eq=False)
class _Member:
    endpoint: str
    channel: grpc.aio.Channel
    kv: Any
    lease: Any
    watch: Any
    auth: Any

    @classmethod
    def at(cls, endpoint: str, tls: TlsFiles) -> "_Member":
        channel = open_channel(endpoint, tls)
        stubs = rpc.KVStub(channel), rpc.LeaseStub(channel), rpc.WatchStub(channel), rpc.AuthStub(channel)
        return cls(endpoint, channel, *stubs)


class Etcd:
    """One etcd cluster. Several stores, each with its prefix, may share it.

    All calls go to one member until one of them fails; then the next member has its turn. A call that could not even be
    sent is sent to the next one at once, any other failure is its caller's.
    """

    def __init__(self, settings: StoreSettings, on_other: Callable[[str], None] = end_process) -> None:
        """`on_other` is called with the reason when the cluster is not the one it was any more.

        Raises: StoreUnavailable when the TLS files cannot be used.
        """
        self.timeout = settings.timeout
        self.target = ",".join(settings.endpoints)
        self._members = [_Member.at(endpoint, settings.tls) for endpoint in settings.endpoints]
        self._at = 0
        self._token: Metadata = ()
        self._token_since = 0.0
        """when it was asked for, in the loop's time"""
        self._asking: dict[str, asyncio.Task[Metadata]] = {}
        """for a token, by the endpoint that is asked"""
        self._identity = Identity(self.target, on_other)
        self._user = (settings.user, settings.password)

    async def close(self) -> None:
        for member in self._members:
            await member.channel.close()

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        return await self._call("range", lambda m: m.kv.Range, request, writes=False)

    async def txn(self, request: rpc.TxnRequest, *, writes: bool) -> rpc.TxnResponse:
        return await self._call("txn" if writes else "read", lambda m: m.kv.Txn, request, writes=writes)

    async def grant(self, ttl: int) -> int:
        """A new lease's id."""
        request = rpc.LeaseGrantRequest(TTL=ttl)
        return int((await self._call("grant", lambda m: m.lease.LeaseGrant, request, writes=False)).ID)

    async def revoke(self, lease: int) -> None:
        request = rpc.LeaseRevokeRequest(ID=lease)
        await self._call("revoke", lambda m: m.lease.LeaseRevoke, request, writes=False)

    async def keepalive_stream(self) -> Stream:
        return await self._stream(lambda m: m.lease.LeaseKeepAlive)

    async def watch_stream(self) -> Stream:
        return await self._stream(lambda m: m.watch.Watch)

    async def probe(self, key: bytes, seconds: float) -> None:
        """Returns when a member answers a linearizable read, a refusal included; each has so many seconds, and one
        that does not answer is left. Raises StoreUnavailable."""
        request = rpc.RangeRequest(key=key, count_only=True)
        for _ in self._members:
            member = self._members[self._at]
            try:
                await member.kv.Range(request, timeout=seconds, metadata=self._token)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() not in NO_ANSWER:
                    return
                self._leave(member)
        raise StoreUnavailable(f"etcd at {self.target} does not answer")

    async def _stream(self, method: Callable[[_Member], Callable[..., Any]]) -> Stream:
        member = self._members[self._at]
        try:
            # What is asked for on a stream is judged by the token that it was opened with: that one is to be new.
            token = await self._authenticate(member, FRESH_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in NO_ANSWER:
                self._leave(member)
            raise
        return _MemberStream(method(member)(metadata=(*token, _HAS_LEADER)), lambda: self._leave(member))

    async def _authenticate(self, member: _Member, youngest: float | None = None) -> Metadata:
        """What to send along with a call. `youngest`: not older than so many seconds. All that need a token at the same
        time ask for one together: a check of a password costs etcd 0.1 s of CPU and an entry of its log."""
        if not self._user[0]:
            return ()
        age = asyncio.get_running_loop().time() - self._token_since
        if self._token and (youngest is None or age < youngest):
            return self._token
        asking = self._asking.get(member.endpoint)
        if asking is None:
            asking = self._asking[member.endpoint] = asyncio.create_task(self._ask_token(member), name="etcd token")
        await asyncio.wait([asking])  # which leaves it alone when this caller is cancelled
        return asking.result()

    async def _ask_token(self, member: _Member) -> Metadata:
        try:
            request = rpc.AuthenticateRequest(name=self._user[0], password=self._user[1])
            began = asyncio.get_running_loop().time()
            answer = await member.auth.Authenticate(request, timeout=self.timeout)
            self._token, self._token_since = (("token", answer.token),), began
            return self._token
        finally:
            del self._asking[member.endpoint]

    async def _call(
        self, name: str, method: Callable[[_Member], Callable[..., Awaitable[T]]], request: Any, *, writes: bool
    ) -> T:
        """Within the time of one call, however many members are tried."""
        clock = asyncio.get_running_loop().time
        until, seen = clock() + self.timeout, self._identity.revision
        untried, renewed = len(self._members), False
        while True:
            member = self._members[self._at]
            untried -= 1
            token: Metadata = ()
            sent = False
            try:
                token = await self._authenticate(member)
                sent = True
                with CALLS.labels(name).time():
                    answer = await method(member)(request, timeout=max(0.001, until - clock()), metadata=token)
                if name in _LINEARIZABLE:
                    self._identity.check(answer, seen)
                return answer
            except grpc.aio.AioRpcError as error:
                FAILURES.labels(name, error.code().name).inc()
                detail = error.details() or ""
                if token and not renewed and any(reason in detail for reason in STALE_TOKEN):
                    renewed, untried = True, untried + 1  # refused unseen: it may be said again
                    self._token = () if self._token is token else self._token
                    continue
                if error.code() in NO_ANSWER:
                    self._leave(member)
                if not untried or _NOT_SENT not in detail or clock() >= until:
                    raise explain(self.target, error, writes=writes and sent) from error

    def _leave(self, member: _Member) -> None:
        """Of many whose calls fail there together the first moves on, and the others with it."""
        if self._members[self._at] is member and len(self._members) > 1:
            MOVES.inc()
            self._at = (self._at + 1) % len(self._members)


class _MemberStream:
    """A stream whose breaking is a reason to go to another member."""

    def __init__(self, call: Any, broken: Callable[[], None]) -> None:
        self._call = call
        self._broken = broken

    async def write(self, request: Any) -> None:
        await self._call.write(request)

    async def read(self) -> Any:
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError:
            self._broken()
            raise

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def give_up(self) -> None:
        self._broken()
        self._call.cancel()


def open_channel(endpoint: str, tls: TlsFiles) -> grpc.aio.Channel:
    """Raises StoreUnavailable when the files cannot be used."""
    if tls.fault:
        raise StoreUnavailable(f"TLS for etcd: {tls.fault}")
    if not tls.ca:
        return grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
    try:
        root, key, cert = (_content(path) for path in (tls.ca, tls.key, tls.cert))
    except OSError as error:
        raise StoreUnavailable(f"TLS for etcd: {error.filename} cannot be read: {error.strerror}") from error
    return grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(root, key, cert), options=_OPTIONS)


def _content(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
