"""What a handler of the image API gets: the desk that it works at, the request, and who asks."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from attrs import define, evolve, field, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control.identity.http import auth_token
from control.identity.tokens import Tokens
from control.images.access import require_seen
from control.images.blobs import Blobs
from control.images.grants import Grants
from control.images.policy import check
from control.rules import Rules
from kv.keys import Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, Conflict, Forbidden
from schemas.identity import Identity
from schemas.image import Image

TRIES: Final = 10


@define(eq=False)
class Desk:
    store: Store
    tokens: Tokens
    blobs: Blobs
    grants: Grants
    rules: Rules
    api_url: str
    spool_dir: str
    max_bytes: int
    """of an upload"""
    seen: dict[str, Stored[Image]] = field(factory=dict)
    """images as they were last listed, by path"""


@frozen
class Call:
    desk: Desk
    request: Request
    who: Identity

    def part(self, name: str) -> str:
        """Of the path."""
        value: str = self.request.path_params[name]
        return value

    async def image(self, rule: str = "get_image") -> Stored[Image]:
        """The one of the path, which the caller may see and do `rule` with. Raises NotFound also when it is not for
        the caller's eyes."""
        image_id = self.part("image")
        stored = await self.desk.store.get(Global.IMAGES(image_id))
        image = require_seen(stored.value if stored else None, image_id, self.who)
        assert stored is not None
        self.check(rule, image)
        return stored

    def check(self, rule: str, image: Image | None = None) -> None:
        """Raises Forbidden."""
        check(self.desk.rules, rule, self.who, image)

    async def change(self, apply: Callable[[Image], Image], rule: str = "modify_image") -> Image:
        """Applies a change to the image of the path as it is now."""
        for _ in range(TRIES):
            stored = await self.image(rule)
            changed = apply(stored.value)
            if changed == stored.value:
                return changed
            changed = evolve(changed, updated=datetime.now(UTC))
            try:
                await self.desk.store.commit(Txn("image-update").replace(stored, changed))
            except CompareFailed:
                continue
            return changed
        raise Conflict(f"Image {self.part('image')} keeps being changed by others: try again.")


Handler = Callable[[Call], Awaitable[Response]]


@frozen
class Operation:
    method: str
    path: str
    handler: Handler


def route(operation: Operation, desk: Desk) -> Route:
    async def endpoint(request: Request) -> Response:
        who = await desk.tokens.verify(auth_token(request))
        if not who.project:
            raise Forbidden("Images belong to projects: the token must be scoped to one.")
        return await operation.handler(Call(desk, request, who))

    return Route(operation.path, endpoint, methods=[operation.method])
