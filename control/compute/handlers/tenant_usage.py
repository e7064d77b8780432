"""os-simple-tenant-usage: what projects used in a period."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from control.compute.call import Body, Call
from control.compute.paging import LATER_TEXT, limit_of, next_link
from control.compute.views import tenant_usage as views
from control.compute.views.tenant_usage import Period
from control.servers.find import Found
from control.servers.lists import list_servers
from control.servers.markers import marker_server
from runtime import ambient
from runtime.slices import kept, smallest
from schemas.errors import BadRequest
from schemas.server import Instance

PAGES_SINCE: Final = 40
FORMS: Final = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")
EVERYTHING: Final = 1_000_000


async def index(call: Call) -> Body:
    period, page = await _page(call, None)
    detailed = call.arg("detailed") == "1"
    shown = [views.usage(list(servers), period, detailed=detailed) for _, servers in groupby(page, lambda s: s.project)]
    return _linked(call, {"tenant_usages": shown}, "tenant_usages_links", page)


async def show(call: Call) -> Body:
    project = call.params["project"]
    call.check("os-simple-tenant-usage:show", project=project)
    period, page = await _page(call, project)
    shown = views.usage(page, period, detailed=True) if page else {}
    return _linked(call, {"tenant_usage": shown}, "tenant_usage_links", page)


async def _page(call: Call, project: str | None) -> tuple[Period, list[Instance]]:
    """The servers that lived in the period, deleted ones as long as they are remembered, by project and uuid.
    It costs all servers of the project, or of the site."""
    period = _period(call)
    servers = await _servers(call, project, period)
    if call.version < PAGES_SINCE:
        return period, await smallest(servers, _place, EVERYTHING)
    limit = limit_of(call)
    if marker := call.arg("marker"):
        last = _place((await _marker(call, marker)).instance)
        servers = await kept(servers, lambda s: _place(s) > last)
    return period, await smallest(servers, _place, limit)


async def _marker(call: Call, uuid: str) -> Found:
    """It may have lived in another period. Raises BadRequest."""
    try:
        return await marker_server(call.top, call.identity, uuid, any_project=call.sees_all)
    except BadRequest:
        raise BadRequest(LATER_TEXT.format(uuid)) from None


def _place(server: Instance) -> tuple[str, str]:
    return server.project, server.uuid


async def _servers(call: Call, project: str | None, period: Period) -> list[Instance]:
    """In no order."""

    async def touched(servers: Sequence[Found]) -> list[Found]:
        return await kept(servers, lambda f: period.touches(f.instance))

    found = {}
    for deleted in (False, True):
        for one in await list_servers(call.top, project=project, limit=EVERYTHING, chosen=touched, deleted=deleted):
            found[one.instance.uuid] = one.instance
    return list(found.values())


def _linked(call: Call, body: Body, links: str, page: Sequence[Instance]) -> Body:
    following = next_link(call, len(page), page[-1].uuid) if call.version >= PAGES_SINCE and page else None
    return {**body, links: following} if following else body


def _period(call: Call) -> Period:
    """Raises BadRequest for what is no time, or an end before the start."""
    now = ambient.now()
    start, stop = _moment(call.arg("start"), now), _moment(call.arg("end"), now)
    if start > stop:
        raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
    return Period(start, stop, now)


def _moment(text: str | None, now: datetime) -> datetime:
    if not text:
        return now
    for form in FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise BadRequest(f"Datetime is in invalid format: {text}")
