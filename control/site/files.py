"""The files that a site writes: configuration for its processes, and what clients need to attach to it."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import cattrs
from attrs import asdict, frozen

from control.site.options import Layout, SiteOptions
from control.site.private import write_private
from control.site.processes import Record

Toml = Mapping[str, "str | int | float | bool | Sequence[str] | Toml"]

CLOUD = "kilonova"
DEMO_CLOUD = "kilonova-demo"
CELL = "cell1"


@frozen
class Secrets:
    """Passwords of the seeded users."""

    admin: str
    demo: str


def site_secrets(path: Path) -> Secrets:
    """The site's passwords, made at the first call and kept for as long as the data that they open."""
    if not path.exists():
        made = Secrets(secrets.token_urlsafe(18), secrets.token_urlsafe(18))
        write_private(path, json.dumps(asdict(made), indent=2) + "\n")
    return cattrs.structure(json.loads(path.read_text()), Secrets)


def site_name(layout: Layout) -> str:
    """What its guests are marked with: sites that share a machine's libvirt must tell theirs apart."""
    return f"kilonova-{hashlib.sha256(str(layout.root.resolve()).encode()).hexdigest()[:8]}"


def control_config(options: SiteOptions, layout: Layout) -> Toml:
    """Sections of schemas.settings.Settings for the control plane: one etcd, one NATS, a prefix for each store."""
    etcd = (f"127.0.0.1:{options.ports.etcd}",)
    bus = {"url": f"nats://127.0.0.1:{options.ports.nats}"}
    return {
        "site": site_name(layout),
        "top": {
            "site_key_file": str(layout.site_key),
            "store": {"endpoints": etcd, "prefix": "kilonova/global/"},
            "bus": bus,
        },
        "cell": {
            "name": CELL,
            "key_file": str(layout.cell_key),
            "store": {"endpoints": etcd, "prefix": f"kilonova/cells/{CELL}/"},
            "bus": bus,
        },
        "api": {
            "host": "127.0.0.1",
            "port": options.ports.api,
            "region": options.region,
            "spool_dir": str(layout.spool),
        },
    }


def agent_config(options: SiteOptions, layout: Layout) -> Toml:
    """The agent's bus and driver, and nothing of the control plane."""
    agent: dict[str, str | int | float | bool | Sequence[str] | Toml] = {
        "site": site_name(layout),
        "cell": CELL,
        "driver": options.driver,
        "state_dir": str(layout.agent_state),
        "bus": {"url": f"nats://127.0.0.1:{options.ports.nats}"},
    }
    if options.driver == "simulated":
        agent |= {"host": "sim", "simulated": {"hosts": options.hosts, "state_dir": str(layout.agent_state)}}
    return {"agent": agent}


def clouds_yaml(options: SiteOptions, passwords: Secrets) -> str:
    """What python-openstackclient and openstacksdk read from OS_CLIENT_CONFIG_FILE."""
    clouds = (
        _cloud(CLOUD, "admin", "admin", passwords.admin, options),
        _cloud(DEMO_CLOUD, "demo", "demo", passwords.demo, options),
    )
    return "clouds:\n" + "".join(clouds)


def site_json(options: SiteOptions, records: Sequence[Record]) -> str:
    """What an outside tool needs to attach to the site and to measure it."""
    processes = [{"role": record.role, "pid": record.pid} for record in records]
    return json.dumps({"endpoints": options.endpoints, "cloud": CLOUD, "processes": processes}, indent=2) + "\n"


def config_file(document: Toml) -> str:
    """With a word for those who would change it."""
    return (
        "# Written by each `kilonova site up`, so changes here do not last: set KILONOVA_<SECTION>_<FIELD> in the\n"
        "# environment, such as KILONOVA_API_REGION, and type `just up`.\n" + to_toml(document)
    )


def to_toml(document: Toml, path: tuple[str, ...] = ()) -> str:
    """Tables, strings, numbers, booleans and lists of strings: all that the configuration has."""
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in document.items() if key not in tables]
    header = [f"[{'.'.join(path)}]"] if path and lines else []
    own = "\n".join([*header, *lines, ""]) if lines else ""
    return "\n".join(part for part in (own, *(to_toml(value, (*path, key)) for key, value in tables.items())) if part)


def _toml_value(value: object) -> str:
    if isinstance(value, str | bool | int | float):  # a JSON string is a TOML basic string
        return json.dumps(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _cloud(name: str, user: str, project: str, password: str, options: SiteOptions) -> str:
    return f"""\
  {name}:
    auth:
      auth_url: {options.endpoints["identity"]}
      username: {user}
      password: {json.dumps(password)}
      project_name: {project}
      user_domain_id: default
      project_domain_id: default
    region_name: {options.region}
    identity_api_version: 3
    image_api_version: 2
    interface: public
"""
