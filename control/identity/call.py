"""What a handler of the identity API gets: the desk that it works at, the request, and who asks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from attrs import define, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control.identity.directory import Directory
from control.identity.guard import LoginGuard
from control.identity.http import auth_token, json_answer, read_body
from control.identity.lists import View, matching, paged
from control.identity.policy import enforce, project_target, user_target
from control.identity.reach import ADMIN, require_reach
from control.identity.schemas import malformed
from control.identity.tokens import Standing, Tokens
from control.rest.kit.json_body import MalformedJson, parse_json
from control.rules import Rules
from control.writes import TenantWrites
from kv.keys import Global
from kv.store import Store
from schemas.errors import Forbidden
from schemas.identity import DOMAIN

SEEN_SECONDS: Final = 2.0
"""how long an answer waits until this process has seen the write itself"""
SUBJECT: Final = "X-Subject-Token"


@define(eq=False)
class Desk:
    tokens: Tokens
    guard: LoginGuard
    rules: Rules
    api_url: str
    configured_region: str
    writes: TenantWrites
    app_credentials_per_user: int

    @property
    def store(self) -> Store:
        return self.directory.store

    @property
    def directory(self) -> Directory:
        return self.tokens.directory

    @property
    def base(self) -> str:
        return f"{self.api_url}/identity/v3"

    @property
    def region(self) -> str:
        """The one that bootstrap was told last, else the configured one."""
        stored = self.directory.regions.items.values()
        return max(stored, key=lambda s: s.mod_revision).value.id if stored else self.configured_region

    async def seen(self, revision: int) -> None:
        """Whoever is answered finds the own write when asking this process again. No promise while etcd is away."""
        try:
            async with asyncio.timeout(SEEN_SECONDS):
                await self.directory.wait_until(revision)
        except TimeoutError:
            return


@frozen
class Call:
    desk: Desk
    request: Request
    standing: Standing
    body: dict[str, Any]
    """empty when none was sent"""

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)

    @property
    def url(self) -> str:
        """This request's, as clients reach it."""
        path = quote(self.request.scope["path"].partition("/v3")[2])  # it goes into headers too
        query = f"?{self.request.url.query}" if self.request.url.query else ""
        return f"{self.desk.base}{path}{query}"

    def part(self, name: str) -> str:
        """Of the path."""
        value: str = self.request.path_params[name]
        return value

    def given(self, noun: str) -> Any:
        """What the body says under `noun`; nothing is an empty object, which the schema will refuse."""
        return self.body.get(noun, {})

    def listed(self, name: str, views: list[View], fields: tuple[str, ...] = ()) -> Response:
        """A page of those that fit the query in `fields`."""
        return json_answer(paged(name, matching(views, self.query, fields), self.query, self.url))

    def forbidden(self, why: str) -> Forbidden:
        return Forbidden(f"You are not authorized to perform the requested action: {why}.")


Handler = Callable[[Call], Awaitable[Response]]


@frozen
class Operation:
    """A line of the table of what can be asked. `rule` is Keystone's, without `identity:`."""

    method: str
    path: str
    handler: Handler
    rule: str


def route(operation: Operation, desk: Desk) -> Route:
    async def endpoint(request: Request) -> Response:
        standing = await desk.tokens.inspect(auth_token(request))
        call = Call(desk, request, standing, await read_object(request))
        enforce(desk.rules, operation.rule, standing, await _target(call))
        await require_reach(desk.directory, standing, operation.rule, request.path_params)
        if operation.method in ("POST", "PUT", "PATCH"):
            is_admin = any(role.name == ADMIN for role in standing.roles)
            await desk.writes.require(standing.user.id, is_admin=is_admin)
        return await operation.handler(call)

    return Route(operation.path, endpoint, methods=[operation.method])


async def read_object(request: Request) -> dict[str, Any]:
    """The body; empty when there is none. Raises BadRequest in Keystone's words."""
    if request.method in ("GET", "HEAD", "DELETE") or not (body := await read_body(request)):
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() not in ("application/json", ""):
        raise malformed("application/json", "Content-Type header")
    try:
        found = parse_json(body)
    except MalformedJson as error:
        raise malformed("valid JSON", "request body") from error
    if not isinstance(found, dict):
        raise malformed("valid JSON object", "request body")
    return found


async def _target(call: Call) -> dict[str, Any]:
    """What the request is about, as far as the path names it. What does not exist leaves its names out: whoever may
    not see everything is refused then, and nobody learns what there is."""
    directory, parts = call.desk.directory, call.request.path_params
    target: dict[str, Any] = {"target.domain_id": DOMAIN}
    if "user" in parts:
        target["user_id"] = parts["user"]
        user = await directory.user(parts["user"])
        target |= user_target(user) if user else {}
    if "project" in parts:
        project = await directory.project(parts["project"])
        target |= project_target(project) if project else {}
    if "domain" in parts:
        target["target.domain.id"] = parts["domain"]
    if "role" in parts:
        role = directory.roles.get(Global.ROLES(parts["role"]))
        target |= {"target.role.name": role.name, "target.role.domain_id": None} if role else {}
    if "app" in parts:
        app = await directory.app_credential(parts["app"])
        target |= {"user_id": app.user} if app else {}
    if call.request.method == "POST":  # made in the one domain, unless the body says another, which is not there
        for noun in ("user", "project"):
            given = call.body.get(noun)
            wanted = given.get("domain_id") if isinstance(given, dict) else None
            target.setdefault(f"target.{noun}.domain_id", wanted or DOMAIN)
    if SUBJECT in call.request.headers and call.request.url.path.endswith("/auth/tokens"):
        window = call.desk.tokens.window(call.query)
        subject = await call.desk.tokens.subject(call.request.headers[SUBJECT], window)
        target["target.token.user_id"] = subject.user.id
    return target
