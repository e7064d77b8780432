"""Bodies and queries of what operators see: services, hypervisors, quotas, limits."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import Schemas, stricter

Schema = dict[str, Any]

_REASON: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}


def _service(version: int) -> Schema:
    if version >= 53:
        changes = {
            "status": {"type": "string", "enum": ["enabled", "disabled"]},
            "disabled_reason": _REASON,
            "forced_down": c.BOOLEAN,
        }
        return c.fields(changes)
    named = {"host": c.HOST, "binary": c.WORD, "disabled_reason": _REASON}
    if version >= 11:
        named["forced_down"] = c.BOOLEAN
    return c.fields(named, "host", "binary")


def _hypervisors(version: int) -> Schema:
    page: Schema = {"limit": c.single(c.INTEGER), "marker": c.single({"type": "string"})} if version >= 33 else {}
    if version < 53:
        return c.query(page)
    pattern = c.single({"type": "string", "minLength": 1})
    return c.query(
        {**page, "hypervisor_hostname_pattern": pattern, "with_servers": c.single(c.BOOLEAN)},
        strict=True,
    )


def _hypervisor(version: int) -> Schema:
    return c.query({"with_servers": c.single(c.BOOLEAN)}, strict=True) if version >= 53 else c.query({})


def _usage(version: int) -> Schema:
    page = c.PAGE if version >= 40 else {}
    return c.query({"start": c.ANY, "end": c.ANY, **page}, strict=version >= 75)


def _usages(version: int) -> Schema:
    one = _usage(version)
    return {**one, "properties": {**one["properties"], "detailed": c.ANY}}


USAGE: Final = Schemas(_usage, (1, 40, 75))
USAGES: Final = Schemas(_usages, (1, 40, 75))
SERVICES: Final = stricter({"binary": c.ANY, "host": c.ANY})
SERVICE: Final = Schemas(_service, (1, 11, 53))
HYPERVISORS: Final = Schemas(_hypervisors, (1, 33, 53))
HYPERVISOR: Final = Schemas(_hypervisor, (1, 53))

QUOTA_KEYS: Final = (
    "instances",
    "cores",
    "ram",
    "metadata_items",
    "key_pairs",
    "server_groups",
    "server_group_members",
)
NETWORK_QUOTA_KEYS: Final = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
FILE_QUOTA_KEYS: Final = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_LIMIT: Final[Schema] = {
    "type": ["integer", "string"],
    "pattern": "^-?[0-9]+$",
    "minimum": -1,
    "maximum": 2**31 - 1,
    "minLength": 1,
}


def quota_keys(version: int) -> tuple[str, ...]:
    """The resources that a version speaks of."""
    network = NETWORK_QUOTA_KEYS if version < 36 else ()
    files = FILE_QUOTA_KEYS if version < 57 else ()
    return QUOTA_KEYS + network + files


def class_keys(version: int) -> tuple[str, ...]:
    """Those of a quota class: server groups only from 2.50 on, which also ends the network's."""
    network = NETWORK_QUOTA_KEYS if version < 50 else ()
    files = FILE_QUOTA_KEYS if version < 57 else ()
    groups = ("server_groups", "server_group_members")
    return tuple(k for k in QUOTA_KEYS if version >= 50 or k not in groups) + network + files


def _quotas(version: int) -> Schema:
    return c.body("quota_set", c.fields({**dict.fromkeys(quota_keys(version), _LIMIT), "force": c.BOOLEAN}))


def _quota_class(version: int) -> Schema:
    keys = dict.fromkeys((*class_keys(version), *quota_keys(version)), _LIMIT)
    return c.body("quota_class_set", c.fields(keys))


QUOTAS: Final = Schemas(_quotas, (1, 36, 57))
QUOTA_CLASS: Final = Schemas(_quota_class, (1, 36, 50, 57))
QUOTAS_OF_USER: Final = stricter({"user_id": c.ANY})
LIMITS: Final = stricter({"tenant_id": c.ANY, "reserved": c.ANY})
"""The standard client sends `reserved` whatever it is asked; nothing is ever reserved here, so both are the same."""
