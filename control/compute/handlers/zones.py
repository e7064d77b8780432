"""Availability zones."""

from control.cells.hosts import list_hosts
from control.compute.call import Body, Call
from control.compute.views import hosts as views


async def index(call: Call) -> Body:
    return {"availabilityZoneInfo": views.zones(await list_hosts(call.top), detail=False)}


async def detail(call: Call) -> Body:
    return {"availabilityZoneInfo": views.zones(await list_hosts(call.top), detail=True)}
