"""The catalog's parts, one by one; all of them are read-only, since they are made of settings. Limits, of which there
are none."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from control.identity.call import Call
from control.identity.catalog import SERVICES
from control.identity.http import json_answer
from control.identity.views import endpoint_views, region_view, service_view
from schemas.errors import Forbidden, NotFound


async def list_services(call: Call) -> Response:
    return call.listed("services", _services(call), ("type", "name"))


async def get_service(call: Call) -> Response:
    return _one(call, "service", _services(call))


async def list_endpoints(call: Call) -> Response:
    return call.listed("endpoints", _endpoints(call), ("interface", "service_id", "region_id", "region"))


async def get_endpoint(call: Call) -> Response:
    return _one(call, "endpoint", _endpoints(call))


async def list_regions(call: Call) -> Response:
    return call.listed("regions", [region_view(call.desk.region, call.desk.base)], ("parent_region_id",))


async def get_region(call: Call) -> Response:
    return _one(call, "region", [region_view(call.desk.region, call.desk.base)])


async def change_catalog(_: Call) -> Response:
    raise Forbidden("The catalog is made of this site's settings (api.public_url, api.region): it is not changed here.")


async def list_registered_limits(call: Call) -> Response:
    """Quotas are the compute API's."""
    return call.listed("registered_limits", [])


async def list_limits(call: Call) -> Response:
    return call.listed("limits", [])


async def get_limit_model(_: Call) -> Response:
    text = "Limit enforcement and validation does not take project hierarchy into consideration."
    return json_answer({"model": {"name": "flat", "description": text}})


def _services(call: Call) -> list[dict[str, Any]]:
    return [service_view(service, call.desk.base) for service in SERVICES]


def _endpoints(call: Call) -> list[dict[str, Any]]:
    return endpoint_views(call.desk.api_url, call.desk.region, call.desk.base)


def _one(call: Call, noun: str, views: Iterable[dict[str, Any]]) -> Response:
    asked = call.part(noun)
    for view in views:
        if view["id"] == asked:
            return json_answer({noun: view})
    raise NotFound(f"Could not find {noun}: {asked}.")
