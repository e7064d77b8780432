"""What a handler of the image API gets: the desk that it works at, the request, and who asks."""

from collections.abc import Awaitable, Callable

from attrs import define, field, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control.identity.http import auth_token
from control.identity.tokens import Tokens
from control.images.blobs import Blobs
from control.images.grants import Grants
from control.images.ids import ImageIds
from control.images.policy import check
from control.images.quota import UNLIMITED, ImageLimits
from control.images.shelf import Shelf
from control.images.slots import UploadSlots
from control.rules import Rules
from control.writes import TenantWrites
from kv.store import Store
from kv.txn import Stored
from schemas.errors import Forbidden
from schemas.identity import Identity
from schemas.image import Image


@define(eq=False)
class Desk:
    store: Store
    tokens: Tokens
    blobs: Blobs
    ids: ImageIds
    grants: Grants
    rules: Rules
    api_url: str
    spool_dir: str
    max_bytes: int
    """of an upload"""
    limits: ImageLimits
    slots: UploadSlots
    writes: TenantWrites
    seen: dict[str, Stored[Image]] = field(factory=dict)
    """images as they were last listed, by path"""

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.store, self.blobs, self.rules)


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
        return await self.desk.shelf.image(self.who, self.part("image"), rule)

    @property
    def limits(self) -> ImageLimits:
        """Of what the caller makes: administrators have none."""
        return UNLIMITED if self.who.is_admin else self.desk.limits

    def check(self, rule: str, image: Image | None = None) -> None:
        """Raises Forbidden."""
        check(self.desk.rules, rule, self.who, image)

    async def change(self, apply: Callable[[Image], Image], rule: str = "modify_image") -> Image:
        """Applies a change to the image of the path as it is now."""
        return await self.desk.shelf.change(self.who, self.part("image"), apply, rule)


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
        if operation.method in ("POST", "PUT", "PATCH"):
            await desk.writes.require(who.project, is_admin=who.is_admin)
        return await operation.handler(Call(desk, request, who))

    return Route(operation.path, endpoint, methods=[operation.method])
