"""`openstack image ...`, every subcommand that this site serves, and what is shown."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live import Cloud

RAW = ("--disk-format", "raw", "--container-format", "bare")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "disk.raw"
    path.write_bytes(os.urandom(300_000))
    return path


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["Name"] for row in rows}


def test_an_images_life(demo: Cloud, disk: Path, tmp_path: Path) -> None:
    made = demo.json(
        *("image", "create", *RAW, "--file", str(disk), "--property", "os_distro=debian", "--tag", "t1"),
        *("--min-disk", "1", "--min-ram", "64", "--private", "cli-i1"),
    )
    assert (made["status"], made["visibility"]) in {("queued", "private"), ("active", "private")}
    shown = demo.json("image", "show", "cli-i1")
    assert (shown["status"], shown["size"], shown["min_ram"]) == ("active", 300_000, 64)
    assert shown["properties"]["os_distro"] == "debian"
    asked = ("--private", "--property", "os_distro=debian", "--status", "active", "--tag", "t1")
    assert names(demo.json("image", "list", *asked)) == {"cli-i1"}
    assert demo.json("image", "list", "--long", "--name", "cli-i1")[0]["Checksum"] == shown["checksum"]
    demo.ok("image", "set", "--name", "cli-i2", "--property", "a=b", "--tag", "t2", "--protected", "cli-i1")
    demo.ok("image", "unset", "--property", "os_distro", "--tag", "t1", "cli-i2")
    shown = demo.json("image", "show", "cli-i2")
    assert (shown["tags"], shown["properties"]["a"], shown["protected"]) == (["t2"], "b", True)
    assert "os_distro" not in shown["properties"]
    demo.ok("image", "save", "--file", str(tmp_path / "saved"), "cli-i2")
    assert (tmp_path / "saved").read_bytes() == disk.read_bytes()
    demo.ok("image", "set", "--hidden", "cli-i2")
    assert not names(demo.json("image", "list")) & {"cli-i2"}
    assert names(demo.json("image", "list", "--hidden")) == {"cli-i2"}
    demo.ok("image", "set", "--unhidden", "--deactivate", "cli-i2")
    demo.refused("image", "save", "--file", str(tmp_path / "no"), "cli-i2")
    demo.ok("image", "set", "--activate", "cli-i2")
    assert "protected and cannot be deleted" in demo.refused("image", "delete", "cli-i2")
    demo.ok("image", "set", "--unprotected", "cli-i2")
    demo.ok("image", "delete", "cli-i2")
    assert "No Image found" in demo.refused("image", "show", "cli-i2")


def test_who_sees_it(cloud: Cloud, demo: Cloud, disk: Path) -> None:
    project = demo.json("token", "issue")["project_id"]
    image = cloud.json("image", "create", *RAW, "--file", str(disk), "--shared", "cli-s")["id"]
    cloud.ok("image", "add", "project", image, "demo")
    assert [m["Status"] for m in cloud.json("image", "member", "list", image)] == ["pending"]
    assert cloud.json("image", "member", "get", image, project)["status"] == "pending"
    assert not names(demo.json("image", "list")) & {"cli-s"}
    assert names(demo.json("image", "list", "--shared", "--member-status", "pending")) == {"cli-s"}
    demo.ok("image", "set", "--accept", "--project", project, image)
    assert names(demo.json("image", "list", "--shared")) == {"cli-s"}
    demo.ok("image", "set", "--reject", "--project", project, image)
    cloud.ok("image", "remove", "project", image, "demo")
    assert "No Image found" in demo.refused("image", "show", image)
    cloud.ok("image", "set", "--community", image)
    assert names(demo.json("image", "list", "--community")) == {"cli-s"}
    cloud.ok("image", "set", "--public", image)
    assert "cli-s" in names(demo.json("image", "list"))
    assert "modify_image" in demo.refused("image", "set", "--name", "mine", image)
    own = demo.json("image", "create", *RAW, "cli-own")["id"]
    assert "publicize_image" in demo.refused("image", "set", "--public", own)
    demo.ok("image", "delete", own)
    cloud.ok("image", "delete", image)


def test_import_in_two_steps(cloud: Cloud, demo: Cloud, disk: Path) -> None:
    assert demo.json("image", "import", "info")["import-methods"] == ["glance-direct"]
    assert [store["ID"] for store in demo.json("image", "stores", "list")] == ["objects"]
    (detail,) = cloud.json("image", "stores", "list", "--detail")
    assert (detail["ID"], detail["Properties"]) == ("objects", {})
    demo.refused("image", "stores", "list", "--detail")
    demo.ok("image", "create", *RAW, "cli-staged")
    demo.ok("image", "stage", "--file", str(disk), "cli-staged")
    assert demo.json("image", "show", "cli-staged")["status"] == "uploading"
    demo.ok("image", "import", "--method", "glance-direct", "cli-staged")
    assert demo.json("image", "show", "cli-staged")["status"] == "active"
    demo.ok("image", "create", "--import", *RAW, "--file", str(disk), "cli-imported")
    assert demo.json("image", "show", "cli-imported")["size"] == 300_000
    demo.ok("image", "delete", "cli-staged", "cli-imported")
    qcow2 = ("--disk-format", "qcow2", "--container-format", "bare")
    assert "the data is not" in demo.refused("image", "create", *qcow2, "--file", str(disk), "cli-bad")
    assert "No Image found" in demo.refused("image", "show", "cli-bad"), "the client removes what it could not fill"


def test_what_there_is_none_of(cloud: Cloud) -> None:
    for nothing in ("image task list", "image metadef namespace list", "image metadef resource type list"):
        assert cloud.json(*nothing.split()) == []
    assert "No task found" in cloud.refused("image", "task", "show", "abc")
