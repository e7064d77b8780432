"""The files that processes and clients of a site read."""

import json
import stat
import tomllib
from pathlib import Path

import cattrs
import yaml

from control.site.files import (
    Secrets,
    agent_config,
    clouds_yaml,
    control_config,
    site_json,
    site_secrets,
    to_toml,
)
from control.site.nats import nats_config
from control.site.options import Layout, Ports, SiteOptions, load_options, save_options
from control.site.private import write_private
from control.site.processes import Record
from schemas.settings import Settings

LAYOUT = Layout(Path("/srv/site"))
OPTIONS = SiteOptions("simulated", 50, Ports(api=9000), "Here")
STRICT = cattrs.Converter(forbid_extra_keys=True)


def test_toml_is_read_back_as_it_was() -> None:
    document = {"a": "x", "b": {"c": 1, "d": {"e": ('q"uote', "ü\\")}}, "f": {"g": {"h": True, "i": 0.5}}}
    assert tomllib.loads(to_toml(document)) == json.loads(json.dumps(document))


def test_the_control_planes_configuration_has_only_settings_that_exist() -> None:
    settings = STRICT.structure(tomllib.loads(to_toml(control_config(OPTIONS, LAYOUT))), Settings)
    assert settings.api.port == 9000
    assert settings.top.store.endpoints == settings.cell.store.endpoints == ("127.0.0.1:12379",)
    assert settings.top.store.prefix != settings.cell.store.prefix
    assert settings.top.site_key_file == "/srv/site/site.key"


def test_the_agents_configuration_says_nothing_of_the_control_plane() -> None:
    document = tomllib.loads(to_toml(agent_config(OPTIONS, LAYOUT)))
    assert set(document) == {"agent"}
    agent = STRICT.structure(document, Settings).agent
    assert (agent.driver, agent.simulated.hosts, agent.bus.url) == ("simulated", 50, "nats://127.0.0.1:14222")


def test_a_sites_guests_bear_its_own_name() -> None:
    control, agent = control_config(OPTIONS, LAYOUT)["site"], agent_config(OPTIONS, LAYOUT)["agent"]
    assert isinstance(agent, dict)
    assert control == agent["site"]
    assert control != control_config(OPTIONS, Layout(Path("/srv/other")))["site"]


def test_clouds_yaml_has_an_admin_and_a_demo_cloud() -> None:
    clouds = yaml.safe_load(clouds_yaml(OPTIONS, Secrets("pa:ss", "word")))["clouds"]
    assert clouds["kilonova"]["auth"] == {
        "auth_url": "http://127.0.0.1:9000/identity/v3",
        "username": "admin",
        "password": "pa:ss",
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    assert clouds["kilonova"]["region_name"] == "Here"
    assert clouds["kilonova-demo"]["auth"]["username"] == "demo"


def test_site_json_names_endpoints_cloud_and_processes() -> None:
    assert json.loads(site_json(OPTIONS, [Record("api", 1, 2, "b")])) == {
        "endpoints": {
            "compute": "http://127.0.0.1:9000/compute/v2.1",
            "placement": "http://127.0.0.1:9000/placement",
            "identity": "http://127.0.0.1:9000/identity/v3",
            "image": "http://127.0.0.1:9000/image",
        },
        "cloud": "kilonova",
        "processes": [{"role": "api", "pid": 1}],
    }


def test_passwords_are_private_and_last(tmp_path: Path) -> None:
    first = site_secrets(tmp_path / "secrets.json")
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert site_secrets(tmp_path / "secrets.json") == first
    assert first.admin != first.demo


def test_a_public_file_becomes_private_when_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("old")
    write_private(file, "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)


def test_options_last(tmp_path: Path) -> None:
    assert load_options(tmp_path / "options.json") is None
    save_options(tmp_path / "options.json", OPTIONS)
    assert load_options(tmp_path / "options.json") == OPTIONS


def test_nats_syncs_what_it_acknowledges_and_has_no_monitoring_port() -> None:
    config = nats_config(14222, Path("/srv/site/nats"))
    assert "sync_interval: always" in config
    assert "listen: 127.0.0.1:14222" in config
    assert "http" not in config
