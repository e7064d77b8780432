"""What a handler of the identity API gets: the desk that it works at, the request, and who asks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from attrs import define, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control.identity.directory import Directory
from control.identity.http import auth_token
from control.identity.passwords import Passwords
from control.identity.tokens import Standing, Tokens
from kv.store import Store
from schemas.errors import Forbidden

SEEN_SECONDS: Final = 2.0
"""how long an answer waits until this process has seen the write itself"""


@define(eq=False)
class Desk:
    tokens: Tokens
    passwords: Passwords
    api_url: str
    configured_region: str

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

    @property
    def is_admin(self) -> bool:
        return any(role.name == "admin" for role in self.standing.roles)

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)

    @property
    def url(self) -> str:
        """This request's, as clients reach it."""
        path = self.request.url.path.partition("/v3")[2]
        query = f"?{self.request.url.query}" if self.request.url.query else ""
        return f"{self.desk.base}{path}{query}"

    def part(self, name: str) -> str:
        """Of the path."""
        value: str = self.request.path_params[name]
        return value

    def require_admin_or(self, user: str) -> None:
        if not self.is_admin and self.standing.user.id != user:
            raise self.forbidden()

    def forbidden(self) -> Forbidden:
        rule = self.request.scope["endpoint"].__name__
        return Forbidden(f"You are not authorized to perform the requested action: identity:{rule}.")


Handler = Callable[[Call], Awaitable[Response]]
Who = Literal["anyone", "admin"]


@frozen
class Operation:
    """A line of the table of what can be asked. `who`: anyone with a token, or an admin; handlers may ask for more."""

    method: str
    path: str
    handler: Handler
    who: Who = "admin"


def route(operation: Operation, desk: Desk) -> Route:
    async def endpoint(request: Request) -> Response:
        standing = await desk.tokens.inspect(auth_token(request))
        call = Call(desk, request, standing)
        if operation.who == "admin" and not call.is_admin:
            raise call.forbidden()
        return await operation.handler(call)

    endpoint.__name__ = operation.handler.__name__
    return Route(operation.path, endpoint, methods=[operation.method])


def matching(views: list[dict[str, Any]], query: dict[str, str], fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Those that have, in each of `fields` that is asked for, the asked value."""
    wanted = {field: query[field] for field in fields if field in query}
    return [view for view in views if all(_same(view.get(field), value) for field, value in wanted.items())]


def _same(value: Any, asked: str) -> bool:
    if isinstance(value, bool):
        return value == (asked.lower() not in ("0", "false"))
    return value is not None and str(value) == asked
