"""Markers of lists: a page goes on after a server, wherever that is now and whatever the list leaves out."""

from control.servers.find import Found, find_deleted, find_server
from control.top import Top
from kv.keys import Global
from schemas.errors import BadRequest, NotFound
from schemas.identity import Identity
from schemas.server import time_key, to_us


async def place_of(top: Top, identity: Identity, uuid: str, *, any_project: bool) -> str:
    """Where a marker is in the order of creation: the last part of its keys. Deleted ones have a place as long as they
    are remembered.

    Raises BadRequest for a server that is unknown, or another project's unless `any_project`.
    """
    mapping = await top.store.get(Global.INSTANCES(uuid))
    if mapping is not None:
        if not (any_project or mapping.value.project == identity.project):
            raise _unknown(uuid)
        return time_key(to_us(mapping.value.created), uuid)
    server = (await marker_server(top, identity, uuid, any_project=any_project)).instance
    return time_key(server.created_us, uuid)


async def marker_server(top: Top, identity: Identity, uuid: str, *, any_project: bool) -> Found:
    """The marker with all that a list may be sorted by. Raises BadRequest as `place_of`."""
    for find in (find_server, find_deleted):
        try:
            return await find(top, identity, uuid, any_project=any_project)
        except NotFound:
            continue
    raise _unknown(uuid)


def _unknown(uuid: str) -> BadRequest:
    return BadRequest(f"marker [{uuid}] not found")
