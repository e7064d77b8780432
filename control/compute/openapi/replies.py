"""By operation, what a success answers, by microversion. An operation that is not here answers without a body."""

from collections.abc import Callable
from typing import Any, Final

from control.compute.handlers.extensions import LEGACY_NAMES
from control.compute.handlers.limits import NAMES
from control.compute.openapi import host_replies as hosts
from control.compute.openapi import image_replies as images
from control.compute.openapi import server_replies as servers
from control.compute.openapi.common import OWN_LINKS
from control.compute.schemas.operators import class_keys, quota_keys
from control.openapi.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    MICROS,
    NEXT,
    NULL,
    NUMBER,
    STRING,
    UUID,
    array,
    either,
    mapping,
    nullable,
    obj,
    one_of,
    page,
    partly,
)
from schemas.group import POLICIES

Schema = dict[str, Any]


def _flavor(version: int) -> Schema:
    swap = INTEGER if version >= 75 else either(INTEGER, one_of(""))
    shown = {
        "id": STRING,
        "name": STRING,
        "ram": INTEGER,
        "disk": INTEGER,
        "swap": swap,
        "OS-FLV-EXT-DATA:ephemeral": INTEGER,
        "OS-FLV-DISABLED:disabled": BOOLEAN,
        "vcpus": INTEGER,
        "os-flavor-access:is_public": BOOLEAN,
        "rxtx_factor": NUMBER,
        "links": OWN_LINKS,
    }
    if version >= 55:
        shown["description"] = nullable(STRING)
    if version >= 61:
        shown["extra_specs"] = mapping(STRING)
    return partly(shown, {"extra_specs"})


def _brief_flavor(version: int) -> Schema:
    shown = {"id": STRING, "name": STRING, "links": OWN_LINKS}
    return obj({**shown, "description": nullable(STRING)} if version >= 55 else shown)


def _one_flavor(version: int) -> Schema:
    return obj({"flavor": _flavor(version)})


def _specs(_: int) -> Schema:
    return obj({"extra_specs": mapping(STRING)})


def _spec(_: int) -> Schema:
    return mapping(STRING, minProperties=1, maxProperties=1)


def _access(_: int) -> Schema:
    return obj({"flavor_access": array(obj({"flavor_id": STRING, "tenant_id": STRING}))})


def _pair(version: int) -> Schema:
    shown = {"name": STRING, "public_key": STRING, "fingerprint": STRING}
    return {**shown, "type": one_of("ssh", "x509")} if version >= 2 else shown


def _made_pair(version: int) -> Schema:
    return obj({"keypair": obj({**_pair(version), "user_id": STRING}, private_key=STRING)})


def _shown_pair(version: int) -> Schema:
    history = {
        "id": INTEGER,
        "created_at": MICROS,
        "updated_at": NULL,
        "deleted_at": NULL,
        "deleted": BOOLEAN,
        "user_id": STRING,
    }
    return obj({"keypair": obj({**_pair(version), **history})})


def _pairs(version: int) -> Schema:
    return page("keypairs", obj({"keypair": obj(_pair(version))}))


def _limits(version: int) -> Schema:
    keys = quota_keys(version)
    absolute = [name for name, key in NAMES.items() if key in keys]
    absolute += ["maxImageMeta"] if version < 39 else []
    absolute += ["totalInstancesUsed", "totalCoresUsed", "totalRAMUsed", "totalServerGroupsUsed"]
    absolute += ["totalFloatingIpsUsed", "totalSecurityGroupsUsed"] if version < 36 else []
    return obj({"limits": obj({"rate": array(ANYTHING), "absolute": obj(dict.fromkeys(absolute, INTEGER))})})


def _quotas(version: int) -> Schema:
    return obj({"quota_set": obj({"id": STRING, **dict.fromkeys(quota_keys(version), INTEGER)})})


def _set_quotas(version: int) -> Schema:
    return obj({"quota_set": obj(dict.fromkeys(quota_keys(version), INTEGER))})


def _used_quotas(version: int) -> Schema:
    used = obj({"limit": INTEGER, "in_use": INTEGER, "reserved": INTEGER})
    return obj({"quota_set": obj({"id": STRING, **dict.fromkeys(quota_keys(version), used)})})


def _class(version: int) -> Schema:
    return obj({"quota_class_set": obj({"id": STRING, **dict.fromkeys(class_keys(version), INTEGER)})})


def _set_class(version: int) -> Schema:
    return obj({"quota_class_set": obj(dict.fromkeys(class_keys(version), INTEGER))})


def _usage(*, detailed: bool) -> Schema:
    line = {
        "instance_id": UUID,
        "name": STRING,
        "tenant_id": STRING,
        "flavor": STRING,
        "vcpus": INTEGER,
        "memory_mb": INTEGER,
        "local_gb": INTEGER,
        "hours": NUMBER,
        "started_at": MICROS,
        "ended_at": nullable(MICROS),
        "state": STRING,
        "uptime": INTEGER,
    }
    totals = ("total_hours", "total_vcpus_usage", "total_memory_mb_usage", "total_local_gb_usage")
    shown = {"tenant_id": STRING, "start": MICROS, "stop": MICROS, **dict.fromkeys(totals, NUMBER)}
    lines = {"server_usages": array(obj(line))}
    return obj({**shown, **lines}) if detailed else obj(shown, **lines)


def _usages(_: int) -> Schema:
    return page("tenant_usages", _usage(detailed=False))


def _one_usage(_: int) -> Schema:
    """Nothing at all is told of a project that used nothing."""
    used = either(_usage(detailed=True), obj({}))
    return partly({"tenant_usage": used, "tenant_usage_links": NEXT}, {"tenant_usage_links"})


def _aggregate(version: int, *, brief: bool = False) -> Schema:
    shown = {
        "id": INTEGER,
        "name": STRING,
        "availability_zone": nullable(STRING),
        "created_at": MICROS,
        "updated_at": nullable(MICROS),
        "deleted": BOOLEAN,
        "deleted_at": NULL,
    }
    shown |= {"uuid": UUID} if version >= 41 else {}
    return obj(shown if brief else {**shown, "hosts": array(STRING), "metadata": mapping(STRING)})


def _one_aggregate(version: int) -> Schema:
    return obj({"aggregate": _aggregate(version)})


def _group(version: int) -> Schema:
    shown = {"id": UUID, "name": STRING, "members": array(UUID)}
    shown |= {"project_id": STRING, "user_id": STRING} if version >= 13 else {}
    policy = one_of(*POLICIES)
    if version < 64:
        return obj({**shown, "policies": array(policy), "metadata": obj({})})
    return obj({**shown, "policy": policy, "rules": obj({}, max_server_per_host=INTEGER)})


def _one_group(version: int) -> Schema:
    return obj({"server_group": _group(version)})


def _extension(_: int) -> Schema:
    texts = dict.fromkeys(("name", "description", "namespace", "updated"), STRING)
    return obj({"alias": one_of(*LEGACY_NAMES), **texts, "links": array(ANYTHING)})


def _explanation(_: int) -> Schema:
    obstacle = {"stage": STRING, "reason": STRING, "removed": INTEGER, "alone": INTEGER}
    weighed = {"host": STRING, "cell": STRING, "weight": NUMBER, "parts": mapping(NUMBER), "times": INTEGER}
    told = {"hosts": INTEGER, "fitting": INTEGER, "times": INTEGER, "asked": mapping(INTEGER)}
    lists = {"obstacles": array(obj(obstacle, note=STRING)), "best": array(obj(weighed))}
    return obj({"explanation": obj({**told, **lists})})


REPLIES: Final[dict[str, Callable[[int], Schema]]] = {
    "extensions.list": lambda v: obj({"extensions": array(_extension(v))}),
    "extensions.show": lambda v: obj({"extension": _extension(v)}),
    "servers.list": servers.brief_list,
    "servers.detail": servers.detail,
    "servers.create": servers.create,
    "servers.show": servers.show,
    "servers.update": servers.update,
    "servers.get-console-output": servers.console,
    "server-metadata.list": servers.metadata,
    "server-metadata.create": servers.metadata,
    "server-metadata.replace": servers.metadata,
    "server-metadata.show": servers.meta,
    "server-metadata.update": servers.meta,
    "server-tags.list": servers.tags,
    "server-tags.replace": servers.tags,
    "server-addresses.list": servers.addresses,
    "server-addresses.show": servers.network,
    "server-diagnostics.show": servers.diagnostics,
    "server-topology.show": servers.topology,
    "server-password.show": servers.password,
    "instance-actions.list": servers.actions,
    "instance-actions.show": servers.action,
    "server-security-groups.list": servers.nothing_in("security_groups"),
    "interfaces.list": servers.nothing_in("interfaceAttachments"),
    "interfaces.show": servers.one("interfaceAttachment"),
    "volume-attachments.list": servers.nothing_in("volumeAttachments"),
    "volume-attachments.show": servers.one("volumeAttachment"),
    "server-shares.list": servers.nothing_in("shares"),
    "server-shares.show": servers.one("share"),
    "servers.get-vnc-console": servers.one("console", "type", "url"),
    "servers.get-spice-console": servers.one("console", "type", "url"),
    "servers.get-serial-console": servers.one("console", "type", "url"),
    "remote-consoles.create": servers.one("remote_console", "protocol", "type", "url"),
    "migrations.list": lambda _: page("migrations", mapping(ANYTHING)),
    "server-migrations.list": servers.nothing_in("migrations"),
    "server-migrations.show": servers.one("migration"),
    "flavors.list": lambda v: page("flavors", _brief_flavor(v)),
    "flavors.detail": lambda v: page("flavors", _flavor(v)),
    "flavors.show": _one_flavor,
    "flavors.create": _one_flavor,
    "flavors.update": _one_flavor,
    "flavor-specs.list": _specs,
    "flavor-specs.create": _specs,
    "flavor-specs.show": _spec,
    "flavor-specs.update": _spec,
    "flavor-access.list": _access,
    "flavor-access.add": _access,
    "flavor-access.remove": _access,
    "keypairs.list": _pairs,
    "keypairs.create": _made_pair,
    "keypairs.show": _shown_pair,
    "limits.show": _limits,
    "quotas.show": _quotas,
    "quotas.detail": _used_quotas,
    "quotas.defaults": _quotas,
    "quotas.update": _set_quotas,
    "quota-classes.show": _class,
    "quota-classes.update": _set_class,
    "services.list": hosts.services,
    "services.update": hosts.changed_service,
    "usage.list": _usages,
    "usage.show": _one_usage,
    "hypervisors.list": hosts.hypervisors,
    "hypervisors.detail": hosts.full_hypervisors,
    "hypervisors.statistics": hosts.statistics,
    "hypervisors.show": hosts.hypervisor,
    "hypervisors.uptime": hosts.uptime,
    "hypervisors.search": hosts.found_hypervisors,
    "hypervisors.servers": hosts.found_hypervisors,
    "zones.list": hosts.zones,
    "zones.detail": hosts.zones,
    "aggregates.index": lambda v: obj({"aggregates": array(_aggregate(v))}),
    "aggregates.create": lambda v: obj({"aggregate": _aggregate(v, brief=True)}),
    "aggregates.show": _one_aggregate,
    "aggregates.update": _one_aggregate,
    "aggregates.add_host": _one_aggregate,
    "aggregates.remove_host": _one_aggregate,
    "aggregates.set_metadata": _one_aggregate,
    "server-groups.list": lambda v: obj({"server_groups": array(_group(v))}),
    "server-groups.create": _one_group,
    "server-groups.show": _one_group,
    "hosts.list": hosts.old_hosts,
    "hosts.show": hosts.old_host,
    "hosts.update": hosts.changed_old_host,
    "usage-audits.list": lambda v: obj({"instance_usage_audit_logs": hosts.audit_log(v)}),
    "usage-audits.show": lambda v: obj({"instance_usage_audit_log": hosts.audit_log(v)}),
    "images.list": images.brief_list,
    "images.detail": images.detail,
    "images.show": images.show,
    "image-metadata.list": servers.metadata,
    "image-metadata.create": servers.metadata,
    "image-metadata.replace": servers.metadata,
    "image-metadata.show": servers.meta,
    "image-metadata.update": servers.meta,
    "explain.show": _explanation,
    "explain.create": _explanation,
}
