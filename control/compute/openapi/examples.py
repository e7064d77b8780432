"""By operation, a body that it takes, by microversion. Ids in them stand for those of a real site."""

from collections.abc import Callable
from typing import Any, Final

Json = dict[str, Any]

IMAGE: Final = "70a599e0-31e7-49b7-b260-868f441e862b"
PUBLIC_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5Al3ElbI4Ekm+4oqRWDjqFUgKYC4YQEF4JBYUlDk7O someone"


def _server(version: int) -> Json:
    server: Json = {
        "name": "web",
        "flavorRef": "1",
        "imageRef": IMAGE,
        "metadata": {"tier": "front"},
        "user_data": "IyEvYmluL3NoCmVjaG8gaGVsbG8K",
        "config_drive": True,
        "OS-DCF:diskConfig": "AUTO",
    }
    if version >= 19:
        server["description"] = "the first of its kind"
    if version >= 37:
        server["networks"] = "auto"
    if version >= 52:
        server["tags"] = ["front"]
    return {"server": server, "os:scheduler_hints": {"any_other": "is kept"}}


def _renamed(version: int) -> Json:
    described = {"description": "another description"} if version >= 19 else {}
    return {"server": {"name": "web-2", "accessIPv4": "192.0.2.10", **described}}


def _flavor(version: int) -> Json:
    flavor: Json = {"name": "m1.example", "ram": 512, "vcpus": 1, "disk": 1, "swap": 0}
    if version >= 55:
        flavor["description"] = "small"
    return {"flavor": flavor}


def _key(version: int) -> Json:
    pair: Json = {"name": "laptop", "public_key": PUBLIC_KEY}
    return {"keypair": {**pair, "type": "ssh"} if version >= 2 else pair}


def _service(version: int) -> Json:
    if version >= 53:
        return {"status": "disabled", "disabled_reason": "new memory"}
    return {"host": "node-1", "binary": "nova-compute", "disabled_reason": "new memory"}


def _group(version: int) -> Json:
    policy = {"policy": "anti-affinity"} if version >= 64 else {"policies": ["anti-affinity"]}
    return {"server_group": {"name": "apart", **policy}}


def _always(body: Json) -> Callable[[int], Json]:
    return lambda _: body


_NULL_ACTIONS: Final = {
    "servers.start": "os-start",
    "servers.stop": "os-stop",
    "servers.pause": "pause",
    "servers.unpause": "unpause",
    "servers.suspend": "suspend",
    "servers.resume": "resume",
    "servers.lock": "lock",
    "servers.unlock": "unlock",
    "servers.force-delete": "forceDelete",
}

EXAMPLES: Final[dict[str, Callable[[int], Json]]] = {
    **{name: _always({action: None}) for name, action in _NULL_ACTIONS.items()},
    "servers.create": _server,
    "servers.update": _renamed,
    "servers.reboot": _always({"reboot": {"type": "SOFT"}}),
    "servers.reset-state": _always({"os-resetState": {"state": "active"}}),
    "servers.get-console-output": _always({"os-getConsoleOutput": {"length": 50}}),
    "servers.get-vnc-console": _always({"os-getVNCConsole": {"type": "novnc"}}),
    "servers.get-spice-console": _always({"os-getSPICEConsole": {"type": "spice-html5"}}),
    "servers.get-serial-console": _always({"os-getSerialConsole": {"type": "serial"}}),
    "remote-consoles.create": _always({"remote_console": {"protocol": "vnc", "type": "novnc"}}),
    "server-migrations.force-complete": _always({"force_complete": None}),
    "server-metadata.create": _always({"metadata": {"tier": "front"}}),
    "server-metadata.replace": _always({"metadata": {"tier": "back"}}),
    "server-metadata.update": _always({"meta": {"tier": "front"}}),
    "server-tags.replace": _always({"tags": ["front", "blue"]}),
    "flavors.create": _flavor,
    "flavors.update": _always({"flavor": {"description": "smaller than it looks"}}),
    "flavor-specs.create": _always({"extra_specs": {"hw:cpu_policy": "shared"}}),
    "flavor-specs.update": _always({"hw:cpu_policy": "shared"}),
    "flavor-access.add": _always({"addTenantAccess": {"tenant": "2f2dd6a6c4f94a2c8bd3a2a1b5d9f3e0"}}),
    "flavor-access.remove": _always({"removeTenantAccess": {"tenant": "2f2dd6a6c4f94a2c8bd3a2a1b5d9f3e0"}}),
    "keypairs.create": _key,
    "quotas.update": _always({"quota_set": {"instances": 100, "cores": "200"}}),
    "quota-classes.update": _always({"quota_class_set": {"instances": 100}}),
    "services.update": _service,
    "aggregates.create": _always({"aggregate": {"name": "fast", "availability_zone": "east"}}),
    "aggregates.update": _always({"aggregate": {"name": "faster"}}),
    "aggregates.add_host": _always({"add_host": {"host": "node-1"}}),
    "aggregates.remove_host": _always({"remove_host": {"host": "node-1"}}),
    "aggregates.set_metadata": _always({"set_metadata": {"metadata": {"ssd": "true", "old": None}}}),
    "aggregates.images": _always({"cache": [{"id": IMAGE}]}),
    "server-groups.create": _group,
    "hosts.update": _always({"status": "disable"}),
    "image-metadata.create": _always({"metadata": {"os_distro": "debian"}}),
    "image-metadata.replace": _always({"metadata": {"os_distro": "debian"}}),
    "image-metadata.update": _always({"meta": {"os_distro": "debian"}}),
    "explain.create": _always({"explain": {"flavorRef": "1", "imageRef": IMAGE}}),
}
