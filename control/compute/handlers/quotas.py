"""Quota sets of projects and of their users, and classes of limits."""

from typing import Final

from attrs import asdict

from control.compute.call import Body, Call
from control.compute.projects import check_project_known
from control.compute.schemas.common import truth
from control.compute.schemas.operators import class_keys, quota_keys
from control.servers.commits import retried
from control.servers.quota import DEFAULT_CLASS, Range, limits_of, read_limits, settable
from kv.keys import Global, Key
from kv.txn import Txn
from schemas.errors import BadRequest
from schemas.quota import DEFAULT_LIMITS, QuotaLimits, QuotaUsage, Used

OLD_DEFAULTS: Final = {
    "fixed_ips": -1,
    "floating_ips": 10,
    "security_groups": 10,
    "security_group_rules": 20,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
}
"""What old versions still show of networks and injected files: kept and shown, without effect"""


async def show(call: Call) -> Body:
    project = await _project(call, "os-quota-sets:show")
    return {"quota_set": {"id": project, **await shown_limits(call, project, call.arg("user_id") or "")}}


async def detail(call: Call) -> Body:
    project, user = await _project(call, "os-quota-sets:detail"), call.arg("user_id") or ""
    limits, used = await shown_limits(call, project, user), used_by(await usage_of(call, project), user)
    shown = {key: {"limit": limit, "in_use": used.get(key, 0), "reserved": 0} for key, limit in limits.items()}
    return {"quota_set": {"id": project, **shown}}


async def defaults(call: Call) -> Body:
    project = await _project(call, "os-quota-sets:defaults")
    return {"quota_set": {"id": project, **_shown(await _class(call, DEFAULT_CLASS), quota_keys(call.version))}}


async def update(call: Call) -> Body:
    """Raises BadRequest for limits below what is used or given to users, or beyond what the project has left."""
    project, user = await _project(call, "os-quota-sets:update"), call.arg("user_id") or ""
    asked = dict(call.body["quota_set"])
    force = truth(asked.pop("force", False))
    limits = {key: int(limit) for key, limit in asked.items()}

    async def once() -> None:
        txn = Txn("set quotas")
        if not force:
            await _check_settable(call, txn, project, user, limits)
        await _add_limits(call, txn, Global.QUOTA_LIMITS(project), {} if user else limits)
        if user:
            await _add_limits(call, txn, Global.USER_QUOTA_LIMITS(project, user), limits)
        await call.top.store.commit(txn)

    await retried(once)
    return {"quota_set": await shown_limits(call, project, user)}


async def delete(call: Call) -> None:
    """The user has the project's limits again, or the project and all of its users have the defaults."""
    project, user = call.params["project"], call.arg("user_id")
    call.check("os-quota-sets:delete", project=project)
    if user:

        async def once() -> None:
            txn = Txn("reset quotas").delete(Global.USER_QUOTA_LIMITS(project, user))
            await _add_limits(call, txn, Global.QUOTA_LIMITS(project), {})
            await call.top.store.commit(txn)

        await retried(once)
        return
    own = await call.top.store.range(Global.USER_QUOTA_LIMITS.under(project, ""))
    for start in range(0, len(own), DELETES):
        txn = Txn("reset quotas")
        for stored in own[start : start + DELETES]:
            txn.delete(stored.key)
        await call.top.store.commit(txn)
    await call.top.store.commit(Txn("reset quotas").delete(Global.QUOTA_LIMITS(project)))


DELETES: Final = 100
"""a transaction; etcd takes 128"""


async def show_class(call: Call) -> Body:
    name = call.params["name"]
    return {"quota_class_set": {"id": name, **_shown(await _class(call, name), class_keys(call.version))}}


async def update_class(call: Call) -> Body:
    """Any name may be kept; only the limits of `default` have an effect, as in Nova."""
    name = call.params["name"]
    limits = {key: int(limit) for key, limit in call.body["quota_class_set"].items()}

    async def once() -> None:
        txn = Txn("set quotas")
        await _add_limits(call, txn, Global.QUOTA_CLASSES(name), limits)
        await call.top.store.commit(txn)

    await retried(once)
    return {"quota_class_set": _shown(await _class(call, name), class_keys(call.version))}


async def shown_limits(call: Call, project: str, user: str = "") -> dict[str, int]:
    limits = await limits_of(call.top.store, project, user)
    return _shown({**OLD_DEFAULTS, **limits.user}, quota_keys(call.version))


async def usage_of(call: Call, project: str) -> QuotaUsage:
    stored = await call.top.store.get(Global.QUOTA_USAGE(project))
    return stored.value if stored else QuotaUsage()


def used_by(usage: QuotaUsage, user: str) -> dict[str, int]:
    """Of the whole project without a user. As in Nova key pairs and members of groups are not counted here."""
    used = usage.users.get(user, Used()) if user else usage
    return {resource: amount for resource, amount in asdict(used).items() if resource != "users"}


async def _check_settable(call: Call, txn: Txn, project: str, user: str, limits: dict[str, int]) -> None:
    """Compares what it is decided on. All limits of a project and of its users are set in transactions that rewrite the
    project's own record, so that none is added unseen."""
    store = call.top.store
    known = await read_limits(store, project)
    usage = await store.get(Global.QUOTA_USAGE(project))
    own = await store.range(Global.USER_QUOTA_LIMITS.under(project, ""))
    known.compared(txn).at(Global.QUOTA_USAGE(project), usage.mod_revision if usage else 0)
    given = {stored.key.path.rsplit("/", 1)[1]: stored.value.limits for stored in own}
    quoted = Global.USER_QUOTA_LIMITS(project, user).path.rsplit("/", 1)[1]
    used = used_by(usage.value if usage else QuotaUsage(), user)
    for key, limit in limits.items():
        whole = {**OLD_DEFAULTS, **known.limits.project}[key]
        users = {name: theirs[key] for name, theirs in given.items() if key in theirs}
        _check(key, limit, settable(whole, users, used.get(key, 0), quoted if user else None))


def _check(key: str, limit: int, allowed: Range) -> None:
    if not allowed.reaches(limit):
        raise BadRequest(
            f"Quota limit {limit} for {key} must be greater than or equal to already used and reserved "
            f"{allowed.lowest}."
        )
    if not allowed.holds(limit):
        raise BadRequest(f"Quota limit {limit} for {key} must be less than or equal to {allowed.highest}.")


async def _class(call: Call, name: str) -> dict[str, int]:
    stored = await call.top.store.get(Global.QUOTA_CLASSES(name))
    return {**OLD_DEFAULTS, **DEFAULT_LIMITS, **(stored.value.limits if stored else {})}


def _shown(limits: dict[str, int], keys: tuple[str, ...]) -> dict[str, int]:
    return {key: limits[key] for key in keys}


async def _add_limits(call: Call, txn: Txn, key: Key[QuotaLimits], limits: dict[str, int]) -> None:
    """Rewrites the record also when `limits` are none. A comparison that the transaction has already stays."""
    stored = await call.top.store.get(key)
    before = stored.value.limits if stored else {}
    expected = txn.revisions.get(key.path)
    txn.at(key, stored.mod_revision if stored else 0).put(key, QuotaLimits({**before, **limits}))
    if expected is not None:
        txn.revisions[key.path] = expected


async def _project(call: Call, rule: str) -> str:
    """Raises Forbidden, BadRequest for a project that does not exist."""
    project = call.params["project"]
    call.check(rule, project=project)
    await check_project_known(call, project)
    return project
