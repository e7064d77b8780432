"""A server's metadata."""

from attrs import evolve

from control.compute.call import Body, Call
from control.compute.handlers.server_states import check_writable
from control.compute.handlers.servers import change, find
from control.servers.quota import limits_of
from schemas.errors import BadRequest, NotFound, QuotaExceeded
from schemas.server import Instance


async def index(call: Call) -> Body:
    return {"metadata": (await find(call)).instance.metadata}


async def show(call: Call) -> Body:
    metadata, key = (await find(call)).instance.metadata, call.params["id"]
    if key not in metadata:
        raise NotFound("Metadata item was not found")
    return {"meta": {key: metadata[key]}}


async def create(call: Call) -> Body:
    """Adds to what is there."""
    changed = await _write(call, call.body["metadata"], keep=True)
    return {"metadata": changed.metadata}


async def replace(call: Call) -> Body:
    changed = await _write(call, call.body["metadata"], keep=False)
    return {"metadata": changed.metadata}


async def update(call: Call) -> Body:
    meta, key = call.body["meta"], call.params["id"]
    if key not in meta:
        raise BadRequest("Request body and URI mismatch")
    await _write(call, meta, keep=True)
    return {"meta": meta}


async def delete(call: Call) -> None:
    key = call.params["id"]

    def drop(server: Instance) -> Instance:
        check_writable(server, call.identity, "delete metadata")
        if key not in server.metadata:
            raise NotFound("Metadata item was not found")
        return evolve(server, metadata={k: v for k, v in server.metadata.items() if k != key})

    await change(call, drop)


async def _write(call: Call, items: dict[str, str], *, keep: bool) -> Instance:
    limit = (await limits_of(call.top.store, call.identity.project, call.identity.user)).user["metadata_items"]

    def write(server: Instance) -> Instance:
        check_writable(server, call.identity, "update metadata")
        metadata = {**server.metadata, **items} if keep else dict(items)
        if 0 <= limit < len(metadata):
            raise QuotaExceeded(f"Maximum number of metadata items exceeds {limit}")
        return evolve(server, metadata=metadata)

    return await change(call, write)
