"""Projects that a shared image is offered to, and what they answered."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from attrs import evolve
from starlette.responses import Response

from control.identity.http import json_answer, read_json
from control.images.access import owns
from control.images.attributes import require_quotas
from control.images.call import Call
from control.images.views import member_view
from schemas.errors import BadRequest, Conflict, Forbidden, NotFound
from schemas.image import Image, Member

STATUSES: Final = ("pending", "accepted", "rejected")


async def list_members(call: Call) -> Response:
    """All for the owner; a member sees itself."""
    image = _shared((await call.image("get_members")).value)
    seen = image.members if owns(image, call.who) else _only(image, call.who.project)
    views = [member_view(image, project, member) for project, member in sorted(seen.items())]
    return json_answer({"members": views, "schema": "/v2/schemas/members"})


async def get_member(call: Call) -> Response:
    image = _shared((await call.image("get_member")).value)
    if call.part("member") != call.who.project and not owns(image, call.who):
        raise _unknown(call)
    return _answer(call, image)


async def create_member(call: Call) -> Response:
    project = _text(await read_json(call.request), "member")
    image = await call.change(partial(_added, project, datetime.now(UTC)), "add_member")
    return json_answer(member_view(image, project, image.members[project]))


async def update_member(call: Call) -> Response:
    """Only the member itself, or an admin, can accept."""
    status = _text(await read_json(call.request), "status")
    image = (await call.image()).value
    member = call.part("member")
    if not call.who.is_admin and member != call.who.project:
        if owns(image, call.who) and member in image.members:
            raise Forbidden(f"Not allowed to update members for image {image.id}.")
        raise _unknown(call)
    if member not in image.members:
        raise _unknown(call)
    call.check("modify_member", image)
    if status not in STATUSES:
        raise BadRequest('Status must be "pending", "accepted" or "rejected".')
    return _answer(call, await call.change(partial(_answered, member, status, datetime.now(UTC)), "get_image"))


async def delete_member(call: Call) -> Response:
    if call.part("member") not in _shared((await call.image("delete_member")).value).members:
        raise _unknown(call)
    await call.change(partial(_removed, call.part("member")), "delete_member")
    return Response(status_code=204)


def _answer(call: Call, image: Image) -> Response:
    member = image.members.get(call.part("member"))
    if member is None:
        raise _unknown(call)
    return json_answer(member_view(image, call.part("member"), member))


def _added(project: str, now: datetime, image: Image) -> Image:
    if project in _shared(image).members:
        raise Conflict(f"Member {project} is duplicated for image {image.id}")
    added = evolve(image, members={**image.members, project: Member("pending", now, now)})
    require_quotas(added, ("members",))
    return added


def _shared(image: Image) -> Image:
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return image


def _answered(project: str, status: str, now: datetime, image: Image) -> Image:
    member = image.members.get(project)
    if member is None:
        return image
    return evolve(image, members={**image.members, project: evolve(member, status=status, updated=now)})


def _removed(project: str, image: Image) -> Image:
    return evolve(image, members={name: member for name, member in image.members.items() if name != project})


def _only(image: Image, project: str) -> dict[str, Member]:
    return {project: image.members[project]} if project in image.members else {}


def _text(body: Any, field: str) -> str:
    value = body.get(field) if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise BadRequest(f"Expected to find a '{field}' string in the request body.")
    return value


def _unknown(call: Call) -> NotFound:
    return NotFound(f"{call.part('member')} not found in the member list of the image {call.part('image')}.")
