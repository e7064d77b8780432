"""What Glance has beside images and what there is none of here, so that clients who look find nothing to trip over."""

from starlette.responses import Response

from control.identity.http import json_answer
from control.images.call import Call
from schemas.errors import NotFound


async def list_image_tasks(call: Call) -> Response:
    """Imports are done when they are answered, so there is never a task."""
    await call.image()
    return json_answer({"tasks": []})


async def list_tasks(call: Call) -> Response:
    call.check("tasks_api_access")
    return json_answer({"tasks": [], "first": "/v2/tasks", "schema": "/v2/schemas/tasks"})


async def get_task(call: Call) -> Response:
    call.check("tasks_api_access")
    raise NotFound(f"No task found with ID {call.part('task')}")


async def list_metadef_namespaces(call: Call) -> Response:
    """There are none: properties are free here."""
    call.check("get_metadef_namespaces")
    first, schema = "/v2/metadefs/namespaces", "/v2/schemas/metadefs/namespaces"
    return json_answer({"namespaces": [], "first": first, "schema": schema})


async def list_metadef_resource_types(call: Call) -> Response:
    call.check("list_metadef_resource_types")
    return json_answer({"resource_types": []})
