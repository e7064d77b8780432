"""What the demo reads out of the client's answers."""

import stat
from pathlib import Path

import pytest

from control.site.demo import GREETING, _key_pair, at_rest, booted, image_name, named, ready_boots, unless_in_error
from control.site.errors import SiteError
from control.site.shell import client_environment

FIRST = f"GUEST-BOOT 1.0\nGUEST-BOOTS 1\nGUEST-USERDATA\n{GREETING}: Linux\nGUEST-READY 2.0\n"


def test_a_boot_counts_once_it_is_ready() -> None:
    assert ready_boots("") == 0
    assert ready_boots(FIRST) == 1
    assert ready_boots(FIRST + "GUEST-BOOT 1.1\nGUEST-BOOTS 2\n") == 1
    assert ready_boots("GUEST-BOOTS 2\nGUEST-READY 2.0\n") == 2  # a console that starts anew with each boot


def test_ready_without_the_user_datas_output_is_not_enough() -> None:
    assert booted(1)(FIRST)
    assert not booted(1)(FIRST.replace(GREETING, ""))
    assert not booted(2)(FIRST)


@pytest.mark.parametrize(
    ("shown", "rests"),
    [
        ('{"status": "ACTIVE", "OS-EXT-STS:task_state": null}', True),
        ('{"status": "ACTIVE", "OS-EXT-STS:task_state": "rebooting"}', False),
        ('{"status": "BUILD", "OS-EXT-STS:task_state": null}', False),
    ],
)
def test_a_server_rests_in_a_status_without_a_task(shown: str, rests: bool) -> None:
    assert at_rest("ACTIVE")(shown) is rests


def test_error_ends_the_wait() -> None:
    with pytest.raises(SiteError, match="in ERROR"):
        at_rest("ACTIVE")('{"status": "ERROR", "OS-EXT-STS:task_state": null}')


def test_a_console_is_not_waited_for_when_the_server_is_in_error() -> None:
    """The hypervisor had stopped the guest: it wrote nothing any more, and the demo waited for all of its 120 s."""
    looked = unless_in_error(booted(1), lambda: "ACTIVE")
    assert [looked("") for _ in range(8)] == [False] * 8
    assert looked(FIRST)
    looked = unless_in_error(booted(1), lambda: "ERROR")
    assert looked(FIRST)
    with pytest.raises(SiteError, match="in ERROR"):
        assert not any(looked("") for _ in range(8))


def test_rows_are_found_by_exact_name() -> None:
    assert named("11 kilonova-demo\n22 kilonova-demo-2\n", "kilonova-demo") == ["11"]
    assert named("", "kilonova-demo") == []


def test_an_image_is_named_for_its_bytes() -> None:
    assert image_name(b"a") == image_name(b"a") != image_name(b"b")


def test_the_clients_environment_has_one_cloud() -> None:
    environment = client_environment({"OS_AUTH_URL": "x", "HOME": "/h"}, Path("/site/clouds.yaml"))
    assert environment["OS_CLIENT_CONFIG_FILE"] == "/site/clouds.yaml"
    assert environment["OS_CLOUD"] == "kilonova"
    assert "OS_AUTH_URL" not in environment
    assert environment["HOME"] == "/h"


def test_the_key_pair_is_made_once_and_private(tmp_path: Path) -> None:
    public = _key_pair(tmp_path)
    text = public.read_text()
    assert text.startswith("ssh-ed25519 ")
    assert stat.S_IMODE((tmp_path / "id_ed25519").stat().st_mode) == 0o600
    assert _key_pair(tmp_path).read_text() == text
