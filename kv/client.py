"""Calls to etcd over the generated stubs: a time-out on each, no blind retry, errors of our tree."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
from aetcd import rpc

from kv.backend import Stream, explain
from kv.metrics import CALLS
from schemas.settings import StoreSettings

T = TypeVar("T")

_OPTIONS: Final = [
    ("grpc.service_config", '{"loadBalancingConfig":[{"pick_first":{}}]}'),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
]


class Etcd:
    """One etcd cluster. Several stores, each with its prefix, may share it."""

    def __init__(self, settings: StoreSettings) -> None:
        self.timeout = settings.timeout
        self.target = ",".join(settings.endpoints)
        self._channel = _channel(settings)
        self._metadata: tuple[tuple[str, str], ...] | None = None
        self._user = (settings.user, settings.password)
        self._kv = rpc.KVStub(self._channel)
        self._lease = rpc.LeaseStub(self._channel)
        self._watch = rpc.WatchStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        return await self._call("range", self._kv.Range, request, writes=False)

    async def txn(self, request: rpc.TxnRequest, *, writes: bool) -> rpc.TxnResponse:
        return await self._call("txn" if writes else "read", self._kv.Txn, request, writes=writes)

    async def grant(self, ttl: int) -> int:
        """A new lease's id."""
        answer = await self._call("grant", self._lease.LeaseGrant, rpc.LeaseGrantRequest(TTL=ttl), writes=False)
        return int(answer.ID)

    async def revoke(self, lease: int) -> None:
        await self._call("revoke", self._lease.LeaseRevoke, rpc.LeaseRevokeRequest(ID=lease), writes=False)

    async def keepalive_stream(self) -> Stream:
        await self._authenticate()
        stream: Stream = self._lease.LeaseKeepAlive(metadata=self._metadata)
        return stream

    async def watch_stream(self) -> Stream:
        await self._authenticate()
        stream: Stream = self._watch.Watch(metadata=self._metadata)
        return stream

    async def _authenticate(self) -> None:
        if self._user[0] and self._metadata is None:
            request = rpc.AuthenticateRequest(name=self._user[0], password=self._user[1])
            answer = await rpc.AuthStub(self._channel).Authenticate(request, timeout=self.timeout)
            self._metadata = (("token", answer.token),)

    async def _call(self, name: str, method: Callable[..., Awaitable[T]], request: Any, *, writes: bool) -> T:
        try:
            await self._authenticate()
            with CALLS.labels(name).time():
                return await method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._metadata = None  # an expired token: the next call asks for a new one
            raise explain(self.target, error, writes=writes) from error


def _channel(settings: StoreSettings) -> grpc.aio.Channel:
    target = settings.endpoints[0] if len(settings.endpoints) == 1 else "ipv4:" + ",".join(settings.endpoints)
    if not settings.tls.ca:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    with open(settings.tls.ca, "rb") as ca:
        root = ca.read()
    key = cert = None
    if settings.tls.cert:
        with open(settings.tls.key, "rb") as key_file, open(settings.tls.cert, "rb") as cert_file:
            key, cert = key_file.read(), cert_file.read()
    options = list(_OPTIONS)
    if len(settings.endpoints) > 1:  # an ipv4: list carries no host name to verify
        options.append(("grpc.ssl_target_name_override", settings.endpoints[0].rsplit(":", 1)[0]))
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(root, key, cert), options=options)
