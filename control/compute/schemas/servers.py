"""Bodies and queries of servers."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import Schemas, constant

Schema = dict[str, Any]

_IP: Final[Schema] = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
_UUID_OR_LIST: Final[Schema] = {"anyOf": [c.UUID, {"type": "array", "items": c.UUID}]}
_WORD_OR_LIST: Final[Schema] = {
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}]
}

HINTS: Final[Schema] = {
    "type": "object",
    "properties": {
        "group": c.UUID,
        "different_host": _UUID_OR_LIST,
        "same_host": _UUID_OR_LIST,
        "query": {"type": ["string", "object"]},
        "target_cell": {"type": "string", "minLength": 1},
        "different_cell": _WORD_OR_LIST,
        "build_near_host_ip": _IP,
        "cidr": {"type": "string", "pattern": "^/[0-9a-f.:]+$"},
    },
    "additionalProperties": True,
}

HOSTNAME: Final[Schema] = {
    "type": "string",
    "minLength": 2,
    "maxLength": 63,
    "pattern": "^[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]$",
}
FQDN: Final[Schema] = {**HOSTNAME, "maxLength": 255, "pattern": "^[a-zA-Z0-9][a-zA-Z0-9.-]*[a-zA-Z0-9]$"}

TRUSTED_CERTS: Final[Schema] = {
    "type": ["array", "null"],
    "minItems": 1,
    "maxItems": 50,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}

BOOT_VOLUME: Final[Schema] = {
    "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
    "destination_type": {"type": "string", "enum": ["volume", "local"]},
    "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
    "image_id": {"type": "string"},
    "boot_index": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$"},
    "volume_size": c.NON_NEGATIVE,
    "volume_id": c.UUID,
    "snapshot_id": c.UUID,
    "device_name": c.WORD,
    "virtual_name": c.WORD,
    "no_device": {},
    "delete_on_termination": c.BOOLEAN,
    "device_type": c.WORD,
    "disk_bus": c.WORD,
    "guest_format": c.WORD,
    "connection_info": {},
}


def _networks(version: int) -> Schema:
    tagged = 32 <= version < 37 or version >= 42
    one = c.fields(
        {
            "fixed_ip": _IP,
            "port": {"anyOf": [c.UUID, {"type": "null"}]},
            "uuid": c.UUID if version >= 37 else {"type": "string"},
            **({"tag": c.TAG} if tagged else {}),
        }
    )
    lists: Schema = {"type": "array", "items": one}
    return {"anyOf": [lists, {"type": "string", "enum": ["none", "auto"]}]} if version >= 37 else lists


def _devices(version: int) -> Schema:
    tagged = version == 32 or version >= 42
    further = {**({"tag": c.TAG} if tagged else {}), **({"volume_type": c.WORD} if version >= 67 else {})}
    return {"type": "array", "items": c.fields({**BOOT_VOLUME, **further})}


def _create(version: int) -> Schema:
    server = {
        "name": c.NAME,
        "imageRef": {"type": "string", "anyOf": [{"format": "uuid"}, {"maxLength": 0}]},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1},
        "adminPass": {"type": "string"},
        "metadata": c.METADATA,
        "networks": _networks(version),
        "OS-DCF:diskConfig": c.DISK_CONFIG,
        "accessIPv4": c.IPV4_OR_EMPTY,
        "accessIPv6": c.IPV6_OR_EMPTY,
        "availability_zone": c.NAME,
        "block_device_mapping": {"type": "array", "items": {"type": "object"}},
        "block_device_mapping_v2": _devices(version),
        "config_drive": c.BOOLEAN,
        "key_name": c.WORD,
        "min_count": c.COUNT,
        "max_count": c.COUNT,
        "return_reservation_id": c.BOOLEAN,
        "security_groups": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": c.WORD}},
        },
        "user_data": {"type": "string", "format": "base64", "maxLength": 65535},
    }
    if version < 57:
        server["personality"] = {
            "type": "array",
            "items": c.fields({"path": {"type": "string"}, "contents": {"type": "string", "format": "base64"}}),
        }
    if version >= 19:
        server["description"] = c.DESCRIPTION
    if version >= 52:
        server["tags"] = {"type": "array", "items": c.TAG, "maxItems": c.MAX_TAGS}
    if version >= 63:
        server["trusted_image_certificates"] = TRUSTED_CERTS
    if version >= 74:
        server |= {"host": c.HOST, "hypervisor_hostname": c.HOST}
    server |= _hostname(version)
    required = ["name", "flavorRef"] + (["networks"] if version >= 37 else [])
    hints = {"os:scheduler_hints": HINTS, "OS-SCH-HNT:scheduler_hints": HINTS}
    return c.body("server", c.fields(server, *required), **hints)


def _hostname(version: int) -> Schema:
    """Nothing below 2.90, one label from there on, a name with dots from 2.94 on."""
    if version < 90:
        return {}
    return {"hostname": HOSTNAME if version < 94 else FQDN}


def _update(version: int) -> Schema:
    server = {
        "name": c.NAME,
        "OS-DCF:diskConfig": c.DISK_CONFIG,
        "accessIPv4": c.IPV4_OR_EMPTY,
        "accessIPv6": c.IPV6_OR_EMPTY,
        **({"description": c.DESCRIPTION} if version >= 19 else {}),
        **_hostname(version),
    }
    return c.body("server", c.fields(server))


_TIME: Final[Schema] = c.many({"type": "string", "format": "date-time"})

FILTERS: Final = c.words(
    "access_ip_v4 access_ip_v6 auto_disk_config availability_zone config_drive created_at description "
    "display_description display_name flavor host hostname image image_ref ip ip6 kernel_id key_name launch_index "
    "launched_at locked_by name node power_state progress project_id ramdisk_id reservation_id root_device_name "
    "soft_deleted status task_state tenant_id terminated_at user_id uuid vm_state"
)

SORT_KEYS: Final = c.words(
    "access_ip_v4 access_ip_v6 auto_disk_config availability_zone config_drive created_at display_description "
    "display_name host hostname image_ref instance_type_id kernel_id key_name launch_index launched_at locked_by node "
    "power_state progress project_id ramdisk_id root_device_name task_state terminated_at updated_at user_id uuid "
    "vm_state"
)

IGNORED_SORT_KEYS: Final = c.words(
    "architecture block_device_mapping cell_name cleaned default_ephemeral_device default_swap_device deleted "
    "deleted_at disable_terminate ephemeral_gb ephemeral_key_uuid id info_cache instance_metadata locked memory_mb "
    "metadata os_type pci_devices reservation_id root_gb services shutdown_terminate system_metadata tags user_data "
    "vcpu_model vcpus vm_mode security_groups"
)
"""Nova takes and ignores them: they are no columns that it can sort by."""


IGNORED_FILTERS: Final = c.words(
    "block_device_mapping info_cache metadata pci_devices security_groups services system_metadata"
)
"""... and ignores: they are tables of its own. So it does with every key that begins with an underscore."""


def _list(version: int) -> Schema:
    properties: Schema = {
        **dict.fromkeys((*FILTERS, *IGNORED_FILTERS), c.ANY),
        **c.PAGE,
        "all_tenants": c.ANY,
        "deleted": c.ANY,
        "changes-since": _TIME,
        "sort_key": c.many({"type": "string", "enum": [*SORT_KEYS, *IGNORED_SORT_KEYS]}),
        "sort_dir": c.many({"type": "string", "enum": ["asc", "desc"]}),
    }
    if version >= 26:
        properties |= dict.fromkeys(("tags", "tags-any", "not-tags", "not-tags-any"), c.ANY)
    if version >= 66:
        properties["changes-before"] = _TIME
    if version >= 73:
        properties["locked"] = c.ANY
    return {**c.query(properties, strict=version >= 75), "patternProperties": {"^_": c.ANY}}


def _lock(version: int) -> Schema:
    if version < 73:
        return c.null_action("lock")
    reason = {"type": "string", "minLength": 1, "maxLength": 255}
    return c.body("lock", {**c.fields({"locked_reason": reason}), "type": ["object", "null"]})


CREATE: Final = Schemas(_create, (1, 19, 32, 33, 37, 42, 52, 57, 63, 67, 74, 90, 94))
UPDATE: Final = Schemas(_update, (1, 19, 90, 94))
LIST: Final = Schemas(_list, (1, 26, 66, 73, 75))

START: Final = constant(c.null_action("os-start"))
STOP: Final = constant(c.null_action("os-stop"))
LOCK: Final = Schemas(_lock, (1, 73))
UNLOCK: Final = constant(c.null_action("unlock"))
PAUSE: Final = constant(c.null_action("pause"))
UNPAUSE: Final = constant(c.null_action("unpause"))
SUSPEND: Final = constant(c.null_action("suspend"))
RESUME: Final = constant(c.null_action("resume"))
FORCE_DELETE: Final = constant(c.null_action("forceDelete"))
RESET_STATE: Final = constant(
    c.body("os-resetState", c.fields({"state": {"type": "string", "enum": ["active", "error"]}}, "state"))
)
REBOOT: Final = constant(
    c.body(
        "reboot",
        c.fields({"type": {"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}}, "type"),
    )
)
CONSOLE_OUTPUT: Final = constant(
    c.body(
        "os-getConsoleOutput",
        c.fields({"length": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$", "minimum": -1}}),
    )
)

METADATA: Final = constant(c.body("metadata", c.METADATA))
META: Final = constant(c.body("meta", {**c.METADATA, "minProperties": 1, "maxProperties": 1}))
TAGS: Final = constant(c.body("tags", {"type": "array", "items": c.TAG, "maxItems": c.MAX_TAGS}))


def _actions(version: int) -> Schema:
    if version < 58:
        return c.query({})
    times = {"changes-since": c.single({"type": "string", "format": "date-time"})}
    if version >= 66:
        times["changes-before"] = c.single({"type": "string", "format": "date-time"})
    page = {"limit": c.single(c.INTEGER), "marker": c.single({"type": "string"})}
    return c.query({**page, **times}, strict=True)


INSTANCE_ACTIONS: Final = Schemas(_actions, (1, 58, 66))
