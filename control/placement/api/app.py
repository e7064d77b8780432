"""The Placement API as an ASGI application: from a raw request to an operation's handler and back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from attrs import frozen
from starlette.types import Receive, Scope, Send

from control.placement.api import microversions
from control.placement.api.accept import accepts
from control.placement.api.call import Answer, Call, Query
from control.placement.api.faults import fault
from control.placement.api.operation import Operation
from control.placement.api.policy import Policy
from control.placement.api.query import parse_query
from control.placement.api.routes import Place, Routes
from control.placement.api.table import OPERATIONS, rules
from control.placement.memberships import Memberships
from control.placement.view import View
from control.placement.writer import Writer
from control.rest.kit.cors import Cors
from control.rest.kit.json_body import MalformedJson, parse_json
from runtime import ambient
from schemas.context import BRIEFLY, OPERATION
from schemas.errors import (
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Unauthorized,
    UnsupportedMediaType,
)
from schemas.identity import Identity
from schemas.settings import PlacementSettings

JSON: Final = (b"content-type", b"application/json")
NO_CACHE: Final = (b"cache-control", b"no-cache")
DATED_SINCE: Final = 15

Ask = Callable[[Mapping[str, str]], Awaitable[Identity]]
"""Tells whom a request's headers speak for; raises Unauthorized."""
Header = tuple[bytes, bytes]


@frozen
class Reply:
    status: int
    body: bytes
    headers: tuple[Header, ...]


class PlacementApp:
    def __init__(
        self, view: View, writer: Writer, memberships: Memberships, ask: Ask, settings: PlacementSettings
    ) -> None:
        self._view = view
        self._writer = writer
        self._memberships = memberships
        self._ask = ask
        self._settings = settings
        self._routes = Routes(OPERATIONS)
        self._policy = Policy(rules(), settings.policy_file, new_defaults=settings.enforce_new_defaults)
        self._cors = Cors(settings.cors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope[BRIEFLY] = True
        method: str = scope["method"]
        version: int | None = None
        more: list[Header] = []
        if self._cors.active:
            if method == "OPTIONS":  # no operation's; who names no origin is allowed nothing by it
                await _send(send, Reply(200, b"", ()), self._cors.preflight(headers))
                return
            more = self._cors.headers(headers)
        try:
            mount = scope.get("root_path", "")
            path: str = scope["path"].removeprefix(mount)
            identity = None if path in ("", "/") else await self._ask(headers)
            version = microversions.negotiate(headers)
            more += microversions.SPOKEN[version]
            reply = await self._perform(scope, receive, headers, identity, version, mount, path)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            reply = Reply(*fault(error, method, headers, version))
            if isinstance(error, _NoSuchMethod):
                more.append((b"allow", error.allowed.encode()))
        await _send(send, reply, more)

    async def _perform(
        self,
        scope: Scope,
        receive: Receive,
        headers: Mapping[str, str],
        identity: Identity | None,
        version: int,
        mount: str,
        path: str,
    ) -> Reply:
        found = self._routes.find(path)
        _check_length(headers)
        if found is None:
            raise NotFound("")
        place, params = found
        operation = _choose(place, scope["method"], version)
        scope[OPERATION] = operation.name
        if operation.body is not None:
            _check_type(headers)
        elif operation.method == "GET" and operation.lists and not accepts(headers.get("accept"), "application/json"):
            raise NotAcceptable("Only application/json is provided")
        query = parse_query(scope["query_string"]) if scope["query_string"] else {}
        if operation.rule is not None:
            self._check(operation, identity, query)
        call = Call(
            view=self._view,
            writer=self._writer,
            memberships=self._memberships,
            policy=self._policy,
            settings=self._settings,
            identity=identity or NOBODY,
            version=version,
            mount=mount,
            now=ambient.now(),
            params=params,
            query=query,
        )
        if operation.query is not None:
            last = {name: values[-1] for name, values in query.items()}
            operation.query.validator(version).check(last, "Invalid query string parameters")
        if operation.before is not None:
            operation.before(call)
        if operation.body is not None:
            await self._take_body(operation, call, receive)
        site = f"{scope['scheme']}://{headers.get('host', '')}"
        return _reply(await operation.handler(call), version, site)

    def _check(self, operation: Operation, identity: Identity | None, query: Query) -> None:
        """Raises Forbidden, Unauthorized."""
        assert operation.rule is not None
        if identity is None:
            raise Unauthorized("")
        project = None
        if operation.own:
            project = query.get("project_id", [""])[-1]
        self._policy.check(identity, operation.rule, project)

    async def _take_body(self, operation: Operation, call: Call, receive: Receive) -> None:
        """Raises BadRequest; NotFound first, when the provider that it is about does not exist."""
        assert operation.body is not None
        try:
            call.body = await _json(receive)
            operation.body.validator(call.version).check(call.body, "JSON does not validate")
        except BadRequest:
            uuid = call.params.get("uuid")
            if not operation.body_first and uuid is not None and (await self._view.current()).get(uuid) is None:
                raise NotFound(f"No resource provider with uuid {uuid} found") from None
            raise


NOBODY: Final = Identity(user="", user_name="", project="", project_name="")


class _NoSuchMethod(MethodNotAllowed):
    def __init__(self, allowed: str) -> None:
        super().__init__("The method specified is not allowed for this resource.")
        self.allowed = allowed


def _choose(place: Place, method: str, version: int) -> Operation:
    """Raises MethodNotAllowed, NotFound."""
    operations = place.methods.get(method)
    if operations is None:
        raise _NoSuchMethod(", ".join(place.methods))
    for operation in operations:
        if operation.speaks(version):
            return operation
    if operations[0].outside == 405:
        raise _NoSuchMethod(", ".join(m for m in place.methods if m != method))
    raise NotFound("")


def _check_length(headers: Mapping[str, str]) -> None:
    """Raises BadRequest."""
    length = headers.get("content-length")
    if not length:
        return
    if not length.isdecimal():
        raise BadRequest("content-length header must be an integer")
    if length.strip("0") and not headers.get("content-type"):
        raise BadRequest("content-type header required when content-length > 0")


def _check_type(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedMediaType."""
    kind = headers.get("content-type", "").split(";", 1)[0].strip()
    if kind != "application/json":
        raise UnsupportedMediaType(f"The media type {kind or None} is not supported, use application/json")


async def _json(receive: Receive) -> Any:
    """Raises BadRequest."""
    message = await receive()
    data: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        data += message.get("body", b"")
    try:
        return parse_json(data)
    except MalformedJson as error:
        raise BadRequest(f"Malformed JSON: {error}") from None


def _reply(answer: Answer, version: int, site: str) -> Reply:
    headers: list[Header] = []
    body = b""
    if answer.body is not None:
        headers.append(JSON)
        body = answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body)
    if answer.location is not None:
        headers.append((b"location", (site + answer.location).encode()))
    if answer.modified is not None and (version >= DATED_SINCE or answer.always):
        headers += ((b"last-modified", _http_date(answer.modified.replace(microsecond=0))), NO_CACHE)
    return Reply(answer.status, body, tuple(headers))


@lru_cache(4096)
def _http_date(moment: datetime) -> bytes:
    return format_datetime(moment, usegmt=True).encode()


async def _send(send: Send, reply: Reply, more: list[Header]) -> None:
    headers = [*reply.headers, *more]
    if reply.status != 204:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
