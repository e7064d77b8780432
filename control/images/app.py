"""The image API: the table of what can be asked, versions, schemas, and the door for agents."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bus.objects import Objects
from control.identity.http import json_answer
from control.identity.tokens import Tokens
from control.images.blobs import BUCKET, Blobs
from control.images.call import Desk, Operation, route
from control.images.faults import error_answer
from control.images.grants import Grants
from control.images.handlers import data, images, imports, members, nothing, stores
from control.images.ids import ImageIds
from control.images.openapi import document
from control.images.policy import DEFAULTS
from control.images.quota import ImageLimits
from control.images.slots import UploadSlots
from control.images.views import (
    image_schema,
    images_schema,
    member_schema,
    members_schema,
    metadef_schemas,
    task_schema,
    tasks_schema,
)
from control.rules import Rules
from control.top import Top
from control.writes import TenantWrites
from schemas.errors import KilonovaError

VERSIONS: Final = ("v2.9", "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0")
SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "image": image_schema,
    "images": images_schema,
    "member": member_schema,
    "members": members_schema,
    "task": task_schema,
    "tasks": tasks_schema,
}

OPERATIONS: Final = (
    Operation("POST", "/v2/images", images.create_image),
    Operation("GET", "/v2/images", images.list_images),
    Operation("GET", "/v2/images/{image}", images.get_image),
    Operation("PATCH", "/v2/images/{image}", images.update_image),
    Operation("DELETE", "/v2/images/{image}", images.delete_image),
    Operation("PUT", "/v2/images/{image}/file", data.upload_image),
    Operation("GET", "/v2/images/{image}/file", data.download_image),
    Operation("PUT", "/v2/images/{image}/stage", imports.stage_bytes),
    Operation("POST", "/v2/images/{image}/import", imports.import_bytes),
    Operation("GET", "/v2/images/{image}/tasks", nothing.list_image_tasks),
    Operation("GET", "/v2/info/import", imports.list_import_methods),
    Operation("GET", "/v2/info/stores", stores.list_stores),
    Operation("GET", "/v2/info/stores/detail", stores.list_stores_in_detail),
    Operation("GET", "/v2/tasks", nothing.list_tasks),
    Operation("GET", "/v2/tasks/{task}", nothing.get_task),
    Operation("GET", "/v2/metadefs/namespaces", nothing.list_metadef_namespaces),
    Operation("GET", "/v2/metadefs/resource_types", nothing.list_metadef_resource_types),
    Operation("DELETE", "/v2/stores/{store}/{image}", stores.delete_from_store),
    Operation("POST", "/v2/images/{image}/actions/{action}", images.act_on_image),
    Operation("PUT", "/v2/images/{image}/tags/{tag}", images.add_tag),
    Operation("DELETE", "/v2/images/{image}/tags/{tag}", images.delete_tag),
    Operation("GET", "/v2/images/{image}/members", members.list_members),
    Operation("POST", "/v2/images/{image}/members", members.create_member),
    Operation("GET", "/v2/images/{image}/members/{member}", members.get_member),
    Operation("PUT", "/v2/images/{image}/members/{member}", members.update_member),
    Operation("DELETE", "/v2/images/{image}/members/{member}", members.delete_member),
)


def open_blobs(top: Top) -> Blobs:
    """On the global bus. `run` it somewhere: it sweeps what died half-way."""
    api = top.settings.api
    objects = Objects(top.bus, BUCKET, api.image_replicas, int(api.image_store_gb * (1 << 30)))
    return Blobs(top.store, objects)


def images_app(top: Top, tokens: Tokens) -> Starlette:
    """To be mounted at /image."""
    api = top.settings.api
    desk = Desk(
        store=top.store,
        tokens=tokens,
        blobs=open_blobs(top),
        ids=ImageIds(top.key.derived("image ids")),
        grants=Grants(tokens.keys, api.url),
        rules=Rules(DEFAULTS, api.image_policy_file, setting="api.image_policy_file"),
        api_url=api.url,
        spool_dir=api.spool_dir,
        max_bytes=int(api.image_max_gb * (1 << 30)),
        limits=ImageLimits(api.images_per_project, int(api.image_project_gb * (1 << 30))),
        slots=UploadSlots(api.uploads, api.uploads_per_project, api.upload_hours * 3600),
        writes=TenantWrites.at(top.settings.top.store, api),
    )

    def refused(request: Request, error: Exception) -> Response:
        return error_answer(request, error, api.url)

    app = Starlette(
        routes=[
            Route("/", _answering(_versions(api.url), 300)),
            Route("/versions", _answering(_versions(api.url), 200)),
            Route("/openapi.json", _openapi),
            Route("/v2/", _answering(_versions(api.url), 300)),
            Route("/v2", _answering(_versions(api.url), 300)),
            *(Route(f"/v2/schemas/{name}", _answering(make(), 200)) for name, make in SCHEMAS.items()),
            *(
                Route(f"/v2/schemas/metadefs/{name}", _answering(schema, 200))
                for name, schema in metadef_schemas().items()
            ),
            Route("/blobs/{digest}", _for_agents(desk)),
            *(route(operation, desk) for operation in OPERATIONS),
        ],
        exception_handlers={KilonovaError: refused, HTTPException: refused},
        middleware=[Middleware(ExceptionMiddleware, handlers={Exception: refused})],  # answers where Starlette raises
    )
    app.router.redirect_slashes = False  # `/v2/images/` is an image without a name
    return app


async def _openapi(_: Request) -> Response:
    return Response(document(OPERATIONS), media_type="application/json")


def _answering(body: dict[str, Any], status: int) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return json_answer(body, status)

    return endpoint


def _for_agents(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def download_blob(request: Request) -> Response:
        return await data.download_blob(desk, request)

    return download_blob


def _versions(api_url: str) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{api_url}/image/v2/"}]
    return {
        "versions": [
            {"id": version, "status": "SUPPORTED" if number else "CURRENT", "links": links}
            for number, version in enumerate(VERSIONS)
        ]
    }
