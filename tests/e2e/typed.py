"""Commands as one line of text, at one microversion of an API."""

import json
from typing import Any

from attrs import frozen
from substrate import eventually

from control.compute.microversions import MAX, text
from tests.e2e.live import Cloud, Shown

NEWEST = text(MAX)
TASK = "OS-EXT-STS:task_state"


@frozen
class Typed:
    """`{name}` in a line is one word of the values. `version` empty: the client's own default."""

    cloud: Cloud
    version: str = ""
    option: str = "--os-compute-api-version"

    def __call__(self, line: str, **values: str) -> str:
        """What a command that succeeds prints."""
        shown = self.run(line, **values)
        assert shown.code == 0, f"openstack {line}: {shown.err or shown.out}"
        return shown.out

    def json(self, line: str, **values: str) -> Any:
        return json.loads(self(f"{line} -f json", **values))

    def fails(self, line: str, **values: str) -> str:
        """What a command that fails says."""
        shown = self.run(line, **values)
        assert shown.code != 0, f"openstack {line} was done: {shown.out}"
        return shown.err + shown.out

    def run(self, line: str, **values: str) -> Shown:
        """Whatever comes of it."""
        words = [word.format_map(values) for word in line.split()]
        at = [self.option, self.version] if self.version else []
        return self.cloud.run(*words, options=[*self.cloud.options, *at])


def name_for(typed: Typed, what: str) -> str:
    return f"{what}-{typed.version or 'default'}"


async def until(typed: Typed, server: str, status: str) -> dict[str, Any]:
    """The server at rest in this status, as `server show` says."""

    def rests() -> dict[str, Any] | None:
        shown: dict[str, Any] = typed.json("server show {s}", s=server)
        assert shown["status"] != "ERROR" or status == "ERROR", shown.get("fault")
        return shown if shown["status"] == status and shown[TASK] is None else None

    found = await eventually(rests, 30)
    assert found
    return found
