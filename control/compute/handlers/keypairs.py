"""Key pairs of a user."""

import re
from datetime import UTC, datetime
from typing import Final

from control.compute import ssh_keys
from control.compute.call import Body, Call
from control.compute.paging import page_of, with_next
from control.compute.views import keypairs as views
from control.servers.quota import limits_of
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import BadRequest, CompareFailed, Conflict, NotFound, QuotaExceeded
from schemas.flavor import KeyPair

_SAFE: Final = re.compile(r"^[a-zA-Z0-9_\- ]+$")


async def index(call: Call) -> Body:
    user = _user(call, "os-keypairs:index")
    found = [s.value for s in await call.top.store.range(Global.KEYPAIRS.under(user))]
    page = page_of(call, found, lambda p: p.name) if call.version >= 35 else found
    shown = [views.listed(p, call.version) for p in page]
    last = page[-1].name if page and call.version >= 35 else None
    return with_next(call, "keypairs", shown, last)


async def show(call: Call) -> Body:
    user, name = _user(call, "os-keypairs:show"), call.params["id"]
    found = await call.top.store.get(Global.KEYPAIRS(user, name))
    if found is None:
        raise _missing(user, name)
    return views.shown(found.value, call.version)


async def create(call: Call) -> Body:
    asked = call.body["keypair"]
    user = asked.get("user_id") or call.identity.user
    call.check("os-keypairs:create", user=user)
    name, kind = asked["name"].strip(), asked.get("type", "ssh")
    if not _SAFE.match(name):
        raise BadRequest("Keypair data is invalid: Keypair name contains unsafe characters")
    if kind != "ssh":
        raise BadRequest("Keypair data is invalid: only keys of type ssh are supported here")
    await _check_quota(call, user)
    made = None if asked.get("public_key") else ssh_keys.make_key(name)
    public = made.public if made else asked["public_key"]
    pair = KeyPair(user, name, public, ssh_keys.fingerprint(public), datetime.now(UTC))
    try:
        await call.top.store.commit(Txn("create key pair").create(Global.KEYPAIRS(user, name), pair))
    except CompareFailed:
        raise Conflict(f"Key pair '{name}' already exists.") from None
    return views.created(pair, call.version, made.private if made else None)


async def delete(call: Call) -> None:
    user, name = _user(call, "os-keypairs:delete"), call.params["id"]
    found = await call.top.store.get(Global.KEYPAIRS(user, name))
    if found is None:
        raise _missing(user, name)
    await call.top.store.commit(Txn("delete key pair").delete(found.key))


def _user(call: Call, rule: str) -> str:
    """Whose key pairs are meant; from 2.10 on an admin may name another user."""
    user = call.arg("user_id") or call.identity.user
    call.check(rule, user=user)
    return user


async def _check_quota(call: Call, user: str) -> None:
    limit = (await limits_of(call.top.store, call.identity.project))["key_pairs"]
    if limit >= 0 and await call.top.store.count(Global.KEYPAIRS.under(user)) >= limit:
        raise QuotaExceeded("Quota exceeded, too many key pairs.")


def _missing(user: str, name: str) -> NotFound:
    return NotFound(f"Keypair {name} not found for user {user}")
