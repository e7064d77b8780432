"""What a project may use and uses, in the shape of the limits API."""

from typing import Final

from control.compute.call import Body, Call
from control.compute.handlers.quotas import shown_limits, usage_of, used_by

NAMES: Final = {
    "maxTotalInstances": "instances",
    "maxTotalCores": "cores",
    "maxTotalRAMSize": "ram",
    "maxTotalKeypairs": "key_pairs",
    "maxServerMeta": "metadata_items",
    "maxServerGroups": "server_groups",
    "maxServerGroupMembers": "server_group_members",
    "maxTotalFloatingIps": "floating_ips",
    "maxSecurityGroups": "security_groups",
    "maxSecurityGroupRules": "security_group_rules",
    "maxPersonality": "injected_files",
    "maxPersonalitySize": "injected_file_content_bytes",
}
"""Limits by the resource whose quota they show; a version shows those that it has quotas of."""


async def show(call: Call) -> Body:
    project = call.arg("tenant_id") or call.identity.project
    if project != call.identity.project:
        call.check("limits:other_project")
    limits = await shown_limits(call, project)
    usage = used_by(await usage_of(call, project), "")
    absolute = {name: limits[key] for name, key in NAMES.items() if key in limits}
    if call.version < 39:
        absolute["maxImageMeta"] = limits["metadata_items"]
    absolute |= {
        "totalInstancesUsed": usage["instances"],
        "totalCoresUsed": usage["cores"],
        "totalRAMUsed": usage["ram"],
        "totalServerGroupsUsed": usage["server_groups"],
    }
    if call.version < 36:
        absolute |= {"totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0}
    return {"limits": {"rate": [], "absolute": absolute}}
