"""What Nova has and this release does not: 501 and a sentence, to whom policy would let do it. It is no part of the
documents; what Nova itself does not have is not here, and refused in Nova's words."""

from typing import Final

from control.compute.handlers.absent import absent
from control.compute.operation import Method, Operation
from control.compute.policy import Role

_ACTION: Final = "/servers/{server}/action"
_INTERFACES: Final = "/servers/{server}/os-interface"
_VOLUMES: Final = "/servers/{server}/os-volume_attachments"

_ACTIONS: Final[dict[str, tuple[str, Role]]] = {
    "addFixedIp": ("os-multinic:add", "member"),
    "addFloatingIp": ("os-floating-ips:add", "member"),
    "addSecurityGroup": ("os-security-groups:add", "member"),
    "changePassword": ("os-admin-password", "member"),
    "confirmResize": ("servers:confirm_resize", "member"),
    "createBackup": ("os-create-backup", "member"),
    "createImage": ("servers:create_image", "member"),
    "evacuate": ("os-evacuate", "admin"),
    "injectNetworkInfo": ("os-admin-actions:inject_network_info", "admin"),
    "migrate": ("os-migrate-server:migrate", "manager"),
    "os-migrateLive": ("os-migrate-server:migrate_live", "manager"),
    "rebuild": ("servers:rebuild", "member"),
    "removeFixedIp": ("os-multinic:remove", "member"),
    "removeFloatingIp": ("os-floating-ips:remove", "member"),
    "removeSecurityGroup": ("os-security-groups:remove", "member"),
    "rescue": ("os-rescue", "member"),
    "resize": ("servers:resize", "member"),
    "restore": ("os-deferred-delete:restore", "member"),
    "revertResize": ("servers:revert_resize", "member"),
    "shelve": ("os-shelve:shelve", "member"),
    "shelveOffload": ("os-shelve:shelve_offload", "admin"),
    "trigger_crash_dump": ("servers:trigger_crash_dump", "member"),
    "unrescue": ("os-unrescue", "member"),
    "unshelve": ("os-shelve:unshelve", "member"),
}
"""By name, the rule and its default"""

_SINCE: Final = {"trigger_crash_dump": 17}
_UNTIL: Final = dict.fromkeys(("addFixedIp", "addFloatingIp", "removeFixedIp", "removeFloatingIp"), 43)

_SHARES: Final = "/servers/{server}/shares"
_SHARES_SINCE: Final = 97

_PATHS: Final[tuple[tuple[Method, str, str, Role, str], ...]] = (
    ("POST", _INTERFACES, "os-attach-interfaces:create", "member", "attaching interfaces to servers"),
    ("DELETE", _INTERFACES + "/{id}", "os-attach-interfaces:delete", "member", "detaching interfaces from servers"),
    ("POST", _VOLUMES, "os-volumes-attachments:create", "member", "attaching volumes to servers"),
    ("PUT", _VOLUMES + "/{id}", "os-volumes-attachments:update", "member", "changing attachments of volumes"),
    ("DELETE", _VOLUMES + "/{id}", "os-volumes-attachments:delete", "member", "detaching volumes from servers"),
    ("POST", _SHARES, "os-server-shares:create", "member", "attaching shares to servers"),
    ("DELETE", _SHARES + "/{id}", "os-server-shares:delete", "member", "detaching shares from servers"),
)

OPERATIONS: Final = (
    *(
        Operation(
            f"absent.{action}",
            "POST",
            _ACTION,
            absent(f"the action '{action}' of servers"),
            rule=rule,
            role=role,
            action=action,
            since=_SINCE.get(action, 1),
            until=_UNTIL.get(action),
        )
        for action, (rule, role) in _ACTIONS.items()
    ),
    *(
        Operation(
            f"absent.{rule}",
            method,
            path,
            absent(what),
            rule=rule,
            role=role,
            since=_SHARES_SINCE if path.startswith(_SHARES) else 1,
        )
        for method, path, rule, role, what in _PATHS
    ),
)
