"""What operators' commands print, as functions of values."""

import tomllib

from attrs import evolve
from typer.testing import CliRunner
from unit_records import NOW, facts

from control.cells.hosts import HostView
from control.manage.config import show_config
from control.manage.hosts import HEADER, row, state, table
from kilonova.cli import app
from schemas.host import Host, HostMapping
from schemas.settings import GlobalSettings, Settings, StoreSettings

UP = HostView(
    HostMapping("h1", "cell1", "u1"), Host("h1", "u1", facts(), NOW), alive=True, usages={"VCPU": 3}, instances=2
)


def test_a_host_is_a_line() -> None:
    assert row(UP) == ("h1", "cell1", UP.zone, "up", "2", "3/8", "0/16384", "0/100", "")
    lines = table([HEADER, row(UP)])
    assert lines[0].index("state") == lines[1].index("up")


def test_the_strongest_state_is_told() -> None:
    assert state(evolve(UP, alive=False)) == "down"
    disabled = evolve(UP, mapping=evolve(UP.mapping, disabled=True, disabled_reason="fan"))
    assert (state(disabled), row(disabled)[-1]) == ("up, disabled", "fan")
    gone = evolve(UP, host=None, cell_down=True)
    assert (state(gone), row(gone)[4:6]) == ("cell down", ("?", "3/?"))
    assert state(evolve(gone, mapping=evolve(UP.mapping, forced_down=True))) == "forced down"


def test_the_configuration_is_shown_as_it_is_written_without_passwords() -> None:
    settings = Settings(top=GlobalSettings(StoreSettings(endpoints=("a:1",), user="root", password="secret")))
    shown = tomllib.loads(show_config(settings))
    assert shown["top"]["store"]["endpoints"] == ["a:1"]
    assert shown["top"]["store"]["password"] == "***"
    assert shown["cell"]["store"]["password"] == ""
    assert shown["api"]["token_hours"] == 24.0
    assert "secret" not in show_config(settings)


def test_the_commands_are_there() -> None:
    for words in (["hosts", "--help"], ["config", "show", "--help"]):
        assert CliRunner().invoke(app, words).exit_code == 0
