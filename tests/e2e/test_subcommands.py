"""Every subcommand of the standard client is accounted for: typed by these tests, or refused in words and no trace."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.live import Cloud
from tests.e2e.subcommands import LOCAL, REFUSED, SERVED
from tests.e2e.typed import Typed, name_for

GROUPS = (
    "openstack.common",
    "openstack.compute.v2",
    "openstack.identity.v3",
    "openstack.image.v2",
    "openstack.placement.v1",
)
SERVER_ERROR = re.compile(r"Traceback|Server Error|HTTP 5\d\d|\b5\d\d:")
NOT_IMPLEMENTED = re.compile(r"501: Server Error|HTTP 501")
"""How the client says of an answer that it is a 501"""


def test_each_is_classified() -> None:
    """A new version of the client may bring new ones: they belong into one of the tables then."""
    listed = Cloud("http://nowhere.invalid").json("command", "list")
    offered = {group["Command Group"]: set(group["Commands"]) for group in listed}
    for group in GROUPS:
        served, refused = set(SERVED.get(group, ())), set(REFUSED.get(group, ()))
        assert not served & refused
        assert offered[group] - LOCAL == served | refused, group


def test_each_that_is_served_is_typed() -> None:
    lines = [line for file in sorted(Path(__file__).parent.glob("test_*.py")) for line in lines_of(file)]
    served = [command for commands in SERVED.values() for command in commands]
    untyped = [command for command in served if not any(f"{line} ".startswith(f"{command} ") for line in lines)]
    assert untyped == []


@pytest.mark.e2e
def test_compute_refuses(typed: Typed) -> None:
    server = name_for(typed, "refused")
    typed("flavor create --ram 64 --disk 1 --vcpus 1 refused")
    typed("server create --flavor refused --image tiny --nic none --wait {s}", s=server)
    for command, (arguments, says) in REFUSED["openstack.compute.v2"].items():
        refuses(typed, command, arguments, says, s=server)
    assert typed.json("server show {s}", s=server)["status"] == "ACTIVE"
    typed("server delete --wait {s}", s=server)
    typed("flavor delete refused")


@pytest.mark.e2e
def test_identity_refuses(cloud: Cloud, tmp_path: Path) -> None:
    typed, file = Typed(cloud), tmp_path / "rules"
    file.write_text("[]")
    endpoint = typed.json("endpoint list --service nova --interface public")[0]["ID"]
    for command, (arguments, says) in (REFUSED["openstack.common"] | REFUSED["openstack.identity.v3"]).items():
        refuses(typed, command, arguments, says, e=endpoint, f=str(file))


@pytest.mark.e2e
def test_images_refuse(cloud: Cloud) -> None:
    typed = Typed(cloud)
    image = typed.json("image create --disk-format raw --container-format bare refused")["id"]
    for command, (arguments, says) in REFUSED["openstack.image.v2"].items():
        refuses(typed, command, arguments, says, i=image)
    typed("image delete refused")


def refuses(typed: Typed, command: str, arguments: str, says: str, **values: str) -> None:
    shown = typed.run(f"{command} {arguments}", **values)
    said = shown.err + shown.out
    assert says in said, f"openstack {command}: {said}"
    assert shown.code != 0 or not says, f"openstack {command} was done: {said}"
    assert not SERVER_ERROR.search(NOT_IMPLEMENTED.sub("", said)), f"openstack {command}: {said}"


def lines_of(file: Path) -> Iterator[str]:
    """What a test types: texts that are a whole line, and the words that a call or a list begins with."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Call):
            yield " ".join(words_of(node.args))
        elif isinstance(node, ast.Tuple | ast.List):
            yield " ".join(words_of(node.elts))


def words_of(nodes: list[ast.expr]) -> Iterator[str]:
    """Up to the first that is not written there."""
    for node in nodes:
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple):
            yield from words_of(node.value.elts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            return
