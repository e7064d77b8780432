"""What Nova had once: its paths answer 410 to everybody with a token, in every version. They are no part of the
documents."""

from typing import Final, get_args

from control.compute.handlers.gone import gone
from control.compute.operation import Method, Operation

_PATHS: Final = """
GET,POST                /os-agents
PUT,DELETE              /os-agents/{id}
GET,POST                /os-cells
GET                     /os-cells/capacities
GET                     /os-cells/detail
GET                     /os-cells/info
POST                    /os-cells/sync_instances
GET,PUT,DELETE          /os-cells/{id}
GET                     /os-cells/{id}/capacities
POST                    /os-certificates
GET                     /os-certificates/{id}
GET,POST                /os-cloudpipe
PUT                     /os-cloudpipe/{id}
GET                     /os-fixed-ips/{id}
reserve,unreserve       /os-fixed-ips/{id}/action
GET                     /os-floating-ip-dns
PUT,DELETE              /os-floating-ip-dns/{id}
GET,PUT,DELETE          /os-floating-ip-dns/{id}/entries/{entry}
GET,POST                /os-floating-ips-bulk
GET,PUT                 /os-floating-ips-bulk/{id}
GET                     /os-fping
GET                     /os-fping/{id}
POST                    /os-networks
POST                    /os-networks/add
DELETE                  /os-networks/{id}
disassociate,disassociate_host,disassociate_project,associate_host  /os-networks/{id}/action
GET,POST                /os-security-group-default-rules
GET,DELETE              /os-security-group-default-rules/{id}
POST                    /os-tenant-networks
DELETE                  /os-tenant-networks/{id}
resetNetwork            /servers/{server}/action
GET,POST                /servers/{server}/consoles
GET,DELETE              /servers/{server}/consoles/{id}
GET                     /servers/{server}/os-virtual-interfaces
"""
"""Methods, or the names of actions, and the path"""


def _operation(what: str, path: str) -> Operation:
    for method in get_args(Method):
        if what == method:
            return Operation("gone", method, path, gone)
    return Operation("gone", "POST", path, gone, action=what)


OPERATIONS: Final = (
    *(_operation(what, path) for words, path in map(str.split, _PATHS.split("\n")[1:-1]) for what in words.split(",")),
    Operation("gone", "POST", "/servers/{server}/action", gone, action="os-getRDPConsole", until=5),
)
