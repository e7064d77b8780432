"""The catalog's parts, one by one; all of them are read-only, since they are made of settings."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from control.identity.call import Call, matching
from control.identity.catalog import SERVICES
from control.identity.http import json_answer
from control.identity.views import collection, endpoint_views, region_view, service_view
from schemas.errors import NotFound


async def list_services(call: Call) -> Response:
    found = matching(_services(call), call.query, ("type", "name"))
    return json_answer(collection("services", found, call.url))


async def get_service(call: Call) -> Response:
    return _one(call, "service", _services(call))


async def list_endpoints(call: Call) -> Response:
    found = matching(_endpoints(call), call.query, ("interface", "service_id", "region_id", "region"))
    return json_answer(collection("endpoints", found, call.url))


async def get_endpoint(call: Call) -> Response:
    return _one(call, "endpoint", _endpoints(call))


async def list_regions(call: Call) -> Response:
    return json_answer(collection("regions", [region_view(call.desk.region, call.desk.base)], call.url))


async def get_region(call: Call) -> Response:
    return _one(call, "region", [region_view(call.desk.region, call.desk.base)])


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
