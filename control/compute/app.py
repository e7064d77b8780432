"""The compute API as an ASGI application: from a raw request to an operation's handler and back."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson
from attrs import evolve, frozen
from starlette.types import Receive, Scope, Send

from control.compute import microversions
from control.compute.call import Answer, Body, Call, Query
from control.compute.faults import NO_TOKEN, NOT_FOUND, fault
from control.compute.handlers import versions
from control.compute.microversions import MAX, OLD_HEADER, Headers, Spoken
from control.compute.openapi.document import document
from control.compute.operation import Operation
from control.compute.operations import ROUTED, default_rules
from control.compute.policy import Policy, check_project
from control.compute.query import parse_query
from control.compute.router import Router
from control.compute.urls import Urls
from control.rest.kit.json_body import MalformedJson, parse_json
from control.top import Top
from schemas.context import OPERATION, REQUEST_ID
from schemas.errors import BadRequest, Forbidden, NotFound, Unauthorized, UnsupportedMediaType
from schemas.identity import Identity

ROOTS: Final = {"v2.1": "v2.1", "v2": "v2.0"}
"""First path segment -> name of the version"""
PROJECT: Final = re.compile("[0-9a-f]{32}")
"""what is a project's id, though it may be another one's"""
JSON: Final = (b"content-type", b"application/json")


class Verifier(Protocol):
    """Tells whom a token speaks for; raises Unauthorized."""

    async def verify(self, token: str) -> Identity: ...


@frozen
class Reply:
    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ComputeApp:
    def __init__(self, top: Top, tokens: Verifier) -> None:
        self._top = top
        self._tokens = tokens
        self._api_url = top.settings.api.url
        self._router = Router(ROUTED)
        self._policy = Policy(default_rules(), top.settings.api.policy_file)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        mount = scope.get("root_path", "")
        parts = [p for p in scope["path"].removeprefix(mount).split("/") if p]
        root = f"{scope['scheme']}://{headers.get('host', '')}{mount}"
        spoken: Headers = []
        try:
            reply = self._document(scope, parts, root)
            if reply is None:
                identity = await self._identify(headers)
                version = Spoken(legacy=True) if parts[0] == "v2" else microversions.negotiate(headers)
                spoken = version.headers
                reply = await self._perform(scope, receive, headers, identity, version, parts, root)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            code, body, more = fault(error, self._api_url)
            reply = Reply(code, body, (JSON, *more))
        length = (b"content-length", str(len(reply.body)).encode())
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length, *spoken]}
        )
        await send({"type": "http.response.body", "body": reply.body})

    def _document(self, scope: Scope, parts: list[str], root: str) -> Reply | None:
        """What is read without a token; None: an operation is meant."""
        if not parts:
            return _json(200, versions.every_version(root))
        if parts == ["openapi.json"]:
            return Reply(200, document(_told(scope["query_string"])), (JSON,))
        name = ROOTS.get(parts[0])
        if name is None:
            return _json(300, versions.choices(root, "/" + "/".join(parts)))
        if len(parts) == 1:
            if not scope["path"].endswith("/"):
                return Reply(302, headers=((b"location", f"{root}/{parts[0]}/".encode()),))
            return _json(200, versions.one_version(name, root))
        if parts[1] == "versions" and len(parts) == 3:
            if parts[2] not in versions.PATHS:
                raise NotFound(NOT_FOUND)
            return _json(200, versions.one_version(parts[2], root))
        return None

    async def _identify(self, headers: Mapping[str, str]) -> Identity:
        token = headers.get("x-auth-token")
        if not token:
            raise Unauthorized(NO_TOKEN)
        identity = evolve(await self._tokens.verify(token), request_id=REQUEST_ID.get())
        if not identity.project:
            raise Forbidden("The token is not scoped to a project.")
        return self._policy.judged(identity)

    async def _perform(
        self,
        scope: Scope,
        receive: Receive,
        headers: Mapping[str, str],
        identity: Identity,
        spoken: Spoken,
        parts: list[str],
        root: str,
    ) -> Reply:
        version, below = parts[0], parts[1:]
        if scope["method"] == "GET" and (named := _named_document(below, version, identity)):
            return _json(200, versions.one_version(named, root))
        if scope["path"].endswith("/"):
            raise NotFound(NOT_FOUND)
        project = self._router.project_of(below)
        check_project(identity, project)
        below = below[1:] if project else below
        found, params = self._router.find(scope["method"], below)
        if not found:
            raise NotFound(NOT_FOUND)
        body = await _body(receive, headers)
        operation = _choose(found, spoken.minor, body)
        scope[OPERATION] = operation.name
        call = Call(
            top=self._top,
            policy=self._policy,
            identity=identity,
            version=spoken.minor,
            urls=Urls(root, version, project),
            path="/".join(below),
            legacy=spoken.legacy,
            params=params,
            query=_query(operation, spoken, scope["query_string"]),
            body=_validated(operation, spoken, body),
        )
        if operation.rule:
            call.check(operation.rule)
        return _reply(operation, call, await operation.handler(call))


def _named_document(below: list[str], version: str, identity: Identity) -> str | None:
    """The version whose document is asked for below a project, as by clients whose endpoint names their project; None:
    an operation is meant. Raises BadRequest for another project, NotFound for a version that does not exist."""
    match below:
        case [project]:
            named = ROOTS[version]
        case [project, "versions", named]:
            pass
        case _:
            return None
    if project != identity.project and not PROJECT.fullmatch(project):
        return None
    check_project(identity, project)
    if named not in versions.PATHS:
        raise NotFound(NOT_FOUND)
    return named


def _told(query: bytes) -> int:
    """The microversion whose document is asked for; the newest. Raises BadRequest, NotAcceptable."""
    asked = parse_query(query).get("microversion")
    return microversions.negotiate({OLD_HEADER: asked[-1]}).minor if asked else MAX


def _choose(found: list[Operation], version: int, body: object) -> Operation:
    """The one operation of a method and path that an action's key and the version leave. Raises NotFound."""
    if found[0].action is not None:
        if not isinstance(body, dict) or len(body) != 1:
            raise BadRequest("Malformed request body")
        (action,) = body
        found = [o for o in found if o.action == action]
        if not found:
            raise BadRequest(f"There is no such action: {action}")
    for operation in found:
        if operation.speaks(version):
            return operation
    raise NotFound(NOT_FOUND)


def _query(operation: Operation, spoken: Spoken, text: bytes) -> Query:
    if operation.query is None or not text:
        return {}
    return operation.query.validator(spoken.minor).check_query(parse_query(text))


def _validated(operation: Operation, spoken: Spoken, body: object) -> Body:
    if operation.body is None:
        return {}
    return operation.body.validator(spoken.minor, legacy=spoken.legacy).check_body(body)


async def _body(receive: Receive, headers: Mapping[str, str]) -> object:
    """Parsed JSON; None without a body. Raises BadRequest, UnsupportedMediaType."""
    chunks, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The request ended before its body did")
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    data = b"".join(chunks)
    kind = headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if not data or not kind:
        return None
    if kind != "application/json" and not kind.startswith("application/vnd.openstack.compute+json"):
        raise UnsupportedMediaType("Unsupported Content-Type")
    try:
        return parse_json(data)
    except MalformedJson:
        raise BadRequest("Malformed request body") from None


def _reply(operation: Operation, call: Call, answer: Body | Answer | None) -> Reply:
    code, headers, body = operation.code(call.version), [], answer
    if isinstance(answer, Answer):
        code, body = answer.status or code, answer.body
        headers = [(b"location", answer.location.encode())] if answer.location else []
    if body is None:
        return Reply(code, b"", tuple(headers))
    return Reply(code, orjson.dumps(body), (JSON, *headers))


def _json(status: int, body: Any) -> Reply:
    return Reply(status, orjson.dumps(body), (JSON,))
