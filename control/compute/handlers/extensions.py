"""The list of extensions that old clients ask for. All of them are part of the API by now."""

from typing import Final

from control.compute.call import Body, Call
from schemas.errors import NotFound

ALIASES: Final = {
    "os-aggregates": "Aggregates",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-extended-server-attributes": "ExtendedServerAttributes",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-lock-server": "LockServer",
    "os-multiple-create": "MultipleCreate",
    "os-quota-sets": "Quotas",
    "os-scheduler-hints": "SchedulerHints",
    "os-server-groups": "ServerGroups",
    "os-server-start-stop": "ServerStartStop",
    "os-services": "Services",
    "os-used-limits": "UsedLimits",
    "os-user-data": "UserData",
}


async def index(_: Call) -> Body:
    return {"extensions": [_extension(alias) for alias in ALIASES]}


async def show(call: Call) -> Body:
    if call.params["alias"] not in ALIASES:
        raise NotFound(f"Extension {call.params['alias']} could not be found.")
    return {"extension": _extension(call.params["alias"])}


def _extension(alias: str) -> Body:
    return {
        "alias": alias,
        "name": ALIASES[alias],
        "description": "",
        "links": [],
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "updated": "2014-12-03T00:00:00Z",
    }
