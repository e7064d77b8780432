"""What the site tells its user."""

from pathlib import Path

from control.site.options import Layout, SiteOptions
from control.site.parts import own_parts
from control.site.site import Status
from control.site.words import how_to_go_on, status_table

LAYOUT = Layout(Path("/srv/site"))


def test_the_user_is_told_what_to_type() -> None:
    said = how_to_go_on(LAYOUT, SiteOptions(), again=False)
    assert "OS_CLIENT_CONFIG_FILE=/srv/site/clouds.yaml OS_CLOUD=kilonova" in said
    assert "just down" in said


def test_a_missing_process_is_named_with_the_remedy() -> None:
    table = status_table(LAYOUT, Status(SiteOptions(), {"etcd": 5, "api": 6}, ("nats",)))
    assert "etcd             5            12379" in table
    assert "nats             not running  14222" in table
    assert "missing: nats; just up restarts them" in table


def test_a_site_that_never_ran_is_down() -> None:
    assert status_table(LAYOUT, Status(None, {}, ("etcd",))) == "the site is down; just up"


def test_every_process_has_a_health_port_of_its_own() -> None:
    parts = own_parts(SiteOptions(), LAYOUT)
    numbers = [port.number for part in parts for port in part.ports]
    assert len(set(numbers)) == len(numbers) == len(parts) + 1, "and the API has its own beside"
    assert [part.role for part in parts if part.command[-1] == LAYOUT.agent_config] == ["agent"]
