"""Quota sets of projects, and the class of defaults."""

from typing import Final

from attrs import evolve

from control.compute.call import Body, Call
from control.compute.schemas.common import truth
from control.compute.schemas.operators import class_keys, quota_keys
from control.servers.commits import retried
from control.servers.quota import DEFAULT_CLASS, limits_of
from kv.keys import Global
from kv.txn import Txn
from schemas.errors import BadRequest
from schemas.quota import QuotaLimits, QuotaUsage

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
    project = _project(call, "os-quota-sets:show")
    return {"quota_set": {"id": project, **await shown_limits(call, project)}}


async def detail(call: Call) -> Body:
    project = _project(call, "os-quota-sets:detail")
    limits, usage = await shown_limits(call, project), await usage_of(call, project)
    shown = {key: {"limit": limit, "in_use": usage.get(key, 0), "reserved": 0} for key, limit in limits.items()}
    return {"quota_set": {"id": project, **shown}}


async def defaults(call: Call) -> Body:
    return {"quota_set": {"id": call.params["project"], **await shown_limits(call, DEFAULT_CLASS)}}


async def update(call: Call) -> Body:
    project = _project(call, "os-quota-sets:update")
    if call.arg("user_id"):
        raise BadRequest("Quotas of single users are not kept here: set those of the project")
    asked = dict(call.body["quota_set"])
    force = truth(asked.pop("force", False))
    limits = {key: int(limit) for key, limit in asked.items()}
    if not force:
        usage = await usage_of(call, project)
        for key, limit in limits.items():
            if 0 <= limit < usage.get(key, 0):
                raise BadRequest(
                    f"Quota limit {limit} for {key} must be greater than or equal to already used and reserved "
                    f"{usage[key]}."
                )
    await _set(call, project, limits)
    return {"quota_set": await shown_limits(call, project)}


async def delete(call: Call) -> None:
    """The project has the defaults again."""
    project = _project(call, "os-quota-sets:delete")
    await call.top.store.commit(Txn("reset quotas").delete(Global.QUOTA_LIMITS(project)))


async def show_class(call: Call) -> Body:
    limits = await _limits(call, DEFAULT_CLASS, class_keys(call.version))
    return {"quota_class_set": {"id": call.params["name"], **limits}}


async def update_class(call: Call) -> Body:
    if call.params["name"] != DEFAULT_CLASS:
        raise BadRequest(f"The only quota class is '{DEFAULT_CLASS}'")
    limits = {key: int(limit) for key, limit in call.body["quota_class_set"].items()}
    await _set(call, DEFAULT_CLASS, limits)
    return {"quota_class_set": await _limits(call, DEFAULT_CLASS, class_keys(call.version))}


async def shown_limits(call: Call, project: str) -> dict[str, int]:
    return await _limits(call, project, quota_keys(call.version))


async def usage_of(call: Call, project: str) -> dict[str, int]:
    stored = await call.top.store.get(Global.QUOTA_USAGE(project))
    usage = stored.value if stored else QuotaUsage()
    return {
        "instances": usage.instances,
        "cores": usage.cores,
        "ram": usage.ram,
        "server_groups": usage.server_groups,
    }


async def _limits(call: Call, owner: str, keys: tuple[str, ...]) -> dict[str, int]:
    limits = {**OLD_DEFAULTS, **await limits_of(call.top.store, owner)}
    return {key: limits[key] for key in keys}


async def _set(call: Call, owner: str, limits: dict[str, int]) -> None:
    store, key = call.top.store, Global.QUOTA_LIMITS(owner)

    async def once() -> None:
        stored = await store.get(key)
        if stored is None:
            await store.commit(Txn("set quotas").create(key, QuotaLimits(limits)))
        else:
            changed = evolve(stored.value, limits={**stored.value.limits, **limits})
            await store.commit(Txn("set quotas").replace(stored, changed))

    await retried(once)


def _project(call: Call, rule: str) -> str:
    project = call.params["project"]
    call.check(rule, project=project)
    return project
