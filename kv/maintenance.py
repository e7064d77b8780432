"""What an operator does to etcd itself, member by member: look, compact, defragment, clear alarms."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
from aetcd import rpc
from attrs import frozen

from kv.backend import explain
from kv.client import open_channel
from schemas.errors import StoreUnavailable
from schemas.settings import StoreSettings

T = TypeVar("T")

SLOW_SECONDS: Final = 300.0
"""for a defragmentation, in which a member serves nobody"""


@frozen
class MemberStatus:
    """Sizes in bytes. `fault`: why nothing else is known."""

    endpoint: str
    id: int = 0
    version: str = ""
    leads: bool = False
    size: int = 0
    in_use: int = 0
    fault: str = ""


@frozen
class Alarm:
    member: int
    kind: str
    """NOSPACE or CORRUPT"""


class Maintenance:
    """Of one cluster. Raises StoreUnavailable when nobody answers."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings

    async def members(self) -> list[MemberStatus]:
        """Of each configured endpoint."""
        return [await self._status(endpoint) for endpoint in self._settings.endpoints]

    async def compact(self) -> int:
        """Forgets all history, so that a defragmentation gives its space back; the revision up to which."""

        async def call(channel: grpc.aio.Channel, **options: Any) -> int:
            stub = rpc.KVStub(channel)
            revision = (await stub.Range(rpc.RangeRequest(key=b"\0"), **options)).header.revision
            try:
                await stub.Compact(rpc.CompactionRequest(revision=revision, physical=True), **options)
            except grpc.aio.AioRpcError as error:
                if "has been compacted" not in (error.details() or ""):
                    raise
            return int(revision)

        return await self._anywhere(call, SLOW_SECONDS)

    async def defragment(self, endpoint: str) -> None:
        """The member answers nobody until it is done."""

        async def call(channel: grpc.aio.Channel, **options: Any) -> None:
            await rpc.MaintenanceStub(channel).Defragment(rpc.DefragmentRequest(), **options)

        await self._at(endpoint, call, SLOW_SECONDS)

    async def alarms(self) -> list[Alarm]:
        return await self._alarm(rpc.AlarmRequest(action=rpc.AlarmRequest.GET))

    async def clear(self, alarm: Alarm) -> None:
        kind = rpc.AlarmType.Value(alarm.kind)
        await self._alarm(rpc.AlarmRequest(action=rpc.AlarmRequest.DEACTIVATE, memberID=alarm.member, alarm=kind))

    async def _alarm(self, request: rpc.AlarmRequest) -> list[Alarm]:
        async def call(channel: grpc.aio.Channel, **options: Any) -> list[Alarm]:
            answer = await rpc.MaintenanceStub(channel).Alarm(request, **options)
            return [Alarm(a.memberID, rpc.AlarmType.Name(a.alarm)) for a in answer.alarms]

        return await self._anywhere(call, self._settings.timeout)

    async def _status(self, endpoint: str) -> MemberStatus:
        async def call(channel: grpc.aio.Channel, **options: Any) -> MemberStatus:
            seen = await rpc.MaintenanceStub(channel).Status(rpc.StatusRequest(), **options)
            ident = seen.header.member_id
            return MemberStatus(endpoint, ident, seen.version, seen.leader == ident, seen.dbSize, seen.dbSizeInUse)

        try:
            return await self._at(endpoint, call, self._settings.timeout)
        except StoreUnavailable as error:
            return MemberStatus(endpoint, fault=error.message)

    async def _anywhere(self, call: Callable[..., Awaitable[T]], timeout: float) -> T:
        """On the first member that answers: what is asked for may be asked for again."""
        *others, last = self._settings.endpoints
        for endpoint in others:
            try:
                return await self._at(endpoint, call, timeout)
            except StoreUnavailable:
                continue
        return await self._at(last, call, timeout)

    async def _at(self, endpoint: str, call: Callable[..., Awaitable[T]], timeout: float) -> T:
        settings, options = self._settings, {}
        channel = open_channel(endpoint, settings.tls)
        try:
            if settings.user:
                request = rpc.AuthenticateRequest(name=settings.user, password=settings.password)
                answer = await rpc.AuthStub(channel).Authenticate(request, timeout=settings.timeout)
                options["metadata"] = (("token", answer.token),)
            return await call(channel, timeout=timeout, **options)
        except grpc.aio.AioRpcError as error:
            raise explain(endpoint, error, writes=False) from error
        finally:
            await channel.close()
