"""Key pairs of a user."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from control.compute import keypairs_store as store
from control.compute import ssh_keys, x509
from control.compute.call import Body, Call
from control.compute.paging import LATER_TEXT, page_of, with_next
from control.compute.ssh_keys import MadeKey
from control.compute.views import keypairs as views
from schemas.errors import BadRequest
from schemas.flavor import KeyPair

PAGES_SINCE: Final = 35
MORE_LETTERS_SINCE: Final = 92
_SAFE: Final = re.compile(r"[a-zA-Z0-9_\- ]+")
_SAFE_NOW: Final = re.compile(r"[a-zA-Z0-9_\- @.]+")


@frozen
class Kind:
    """A type of key pairs. `make` takes the pair's name and its user and may take its time."""

    make: Callable[[str, str], MadeKey]
    fingerprint: Callable[[str], str]


KINDS: Final = {
    "ssh": Kind(lambda name, _: ssh_keys.make_key(name), ssh_keys.fingerprint),
    "x509": Kind(lambda _, user: x509.make_certificate(user), x509.fingerprint),
}


async def index(call: Call) -> Body:
    user = _user(call, "os-keypairs:index")
    found = await store.all_keypairs(call.top.store, user)
    page = page_of(call, found, lambda p: p.name, LATER_TEXT) if call.version >= PAGES_SINCE else found
    shown = [views.listed(p, call.version) for p in page]
    last = page[-1].name if page and call.version >= PAGES_SINCE else None
    return with_next(call, "keypairs", shown, last)


async def show(call: Call) -> Body:
    user = _user(call, "os-keypairs:show")
    return views.shown(await store.get_keypair(call.top.store, user, call.params["id"]), call.version)


async def create(call: Call) -> Body:
    asked = call.body["keypair"]
    user = asked.get("user_id") or call.identity.user
    call.check("os-keypairs:create", user=user)
    name, type_ = asked["name"].strip(), asked.get("type", "ssh")
    safe = _SAFE_NOW if call.version >= MORE_LETTERS_SINCE else _SAFE
    if not safe.fullmatch(name):
        raise BadRequest("Keypair data is invalid: Keypair name contains unsafe characters")
    kind = KINDS[type_]
    given = asked.get("public_key")
    made = None if given is not None else await asyncio.to_thread(kind.make, name, user)
    public = made.public if made else given
    pair = KeyPair(user, name, public, kind.fingerprint(public), datetime.now(UTC), type_)
    await store.add_keypair(call.top.store, pair, call.identity.project)
    return views.created(pair, call.version, made.private if made else None)


async def delete(call: Call) -> None:
    await store.remove_keypair(call.top.store, _user(call, "os-keypairs:delete"), call.params["id"])


def _user(call: Call, rule: str) -> str:
    """Whose key pairs are meant; from 2.10 on an admin may name another user."""
    user = call.arg("user_id") or call.identity.user
    call.check(rule, user=user)
    return user
