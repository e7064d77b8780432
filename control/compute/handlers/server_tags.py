"""A server's tags."""

from collections.abc import Callable

from attrs import evolve

from control.compute.call import Answer, Body, Call
from control.compute.handlers.server_states import check_writable
from control.compute.handlers.servers import change, find
from control.compute.schemas.common import MAX_TAGS
from schemas.errors import BadRequest, NotFound
from schemas.server import Instance


async def index(call: Call) -> Body:
    return {"tags": sorted((await find(call)).instance.tags)}


async def show(call: Call) -> None:
    tag = call.params["id"]
    if tag not in (await find(call)).instance.tags:
        raise _missing(call, tag)


async def replace(call: Call) -> Body:
    tags = tuple(dict.fromkeys(call.body["tags"]))
    changed = await _write(call, "update tags", lambda _: tags)
    return {"tags": sorted(changed.tags)}


async def update(call: Call) -> Answer:
    """201 for a new tag, 204 for one that is there."""
    tag = call.params["id"]
    if not 1 <= len(tag) <= 60 or "," in tag or "/" in tag:
        raise BadRequest(
            f"Tag '{tag}' is invalid. It must be a non empty string without characters '/' and ','. "
            "Validation error message: its length must be 1 to 60"
        )
    new = False

    def add(tags: tuple[str, ...]) -> tuple[str, ...]:
        nonlocal new
        new = tag not in tags
        if new and len(tags) >= MAX_TAGS:
            raise BadRequest(f"The number of tags exceeded the per-server limit {MAX_TAGS}")
        return (*tags, tag) if new else tags

    await _write(call, "update tag", add)
    return Answer(status=201, location=call.urls.own(call.path)) if new else Answer(status=204)


async def delete(call: Call) -> None:
    tag = call.params["id"]

    def drop(tags: tuple[str, ...]) -> tuple[str, ...]:
        if tag not in tags:
            raise _missing(call, tag)
        return tuple(t for t in tags if t != tag)

    await _write(call, "delete tag", drop)


async def delete_all(call: Call) -> None:
    await _write(call, "delete tags", lambda _: ())


async def _write(call: Call, action: str, how: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Instance:
    def write(server: Instance) -> Instance:
        check_writable(server, call.identity, action, lockable=False)
        return evolve(server, tags=how(server.tags))

    return await change(call, write)


def _missing(call: Call, tag: str) -> NotFound:
    return NotFound(f"Server '{call.params['server']}' has no tag '{tag}'")
