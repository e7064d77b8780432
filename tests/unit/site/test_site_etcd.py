"""Which etcd is good enough, and where a newer one comes from."""

from pathlib import Path

import pytest

from control.site import etcd


@pytest.mark.parametrize(
    ("version", "sound"),
    [((), False), ((3, 4, 23), False), ((3, 5, 0), False), ((3, 5, 12), False), ((3, 5, 13), True), ((3, 6, 0), True)],
)
def test_versions_that_corrupt_data_are_refused(version: tuple[int, ...], sound: bool) -> None:
    assert etcd.is_sound(version) is sound


def test_the_version_is_read_from_what_etcd_says() -> None:
    assert etcd.parse_version("etcd Version: 3.5.16\nGit SHA: x\nGo Version: go1.24.4\n") == (3, 5, 16)
    assert etcd.parse_version("command not found") == ()


def test_the_debian_archive_is_told_from_security_and_foreign_ones() -> None:
    targets = "http://mirror.test/debian-security/\nhttp://mirror.test/other\nhttp://mirror.test/debian/\n"
    assert etcd.debian_mirror(targets) == "http://mirror.test/debian/"
    assert etcd.debian_mirror("http://mirror.test/ubuntu/\n") == ""


def test_etcd_listens_on_loopback_alone_with_quota_and_compaction() -> None:
    command = etcd.etcd_command(Path("/x/etcd"), Path("/site/etcd"), 12379, 12380)
    assert command[0] == "/x/etcd"
    assert {word for word in command if "listen" in word} == {
        "--listen-client-urls=http://127.0.0.1:12379",
        "--listen-peer-urls=http://127.0.0.1:12380",
    }
    assert {"--quota-backend-bytes=8589934592", "--auto-compaction-retention=5m"} <= set(command)


def test_an_old_etcd_on_path_is_passed_over_and_the_wheels_comes_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH is empty but for an etcd that is too old, so apt is not there either."""
    old = tmp_path / "etcd"
    old.write_text("#!/bin/sh\necho 'etcd Version: 3.4.23'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    found = etcd.find_etcd(tmp_path / "cache", said.append)
    assert found.program.name == "etcd"
    assert found.program != old
    assert "not for fault tests" in found.warning
    assert any("no apt" in line for line in said)


def test_a_sound_etcd_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "etcd"
    own.write_text("#!/bin/sh\necho 'etcd Version: 3.6.1'\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert etcd.find_etcd(tmp_path / "cache", print) == etcd.Etcd(own, (3, 6, 1))
