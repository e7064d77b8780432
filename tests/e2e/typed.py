"""Commands as one line of text, at one microversion of the compute API."""

import json
from typing import Any

from attrs import frozen

from tests.e2e.live import Cloud, Shown


@frozen
class Typed:
    """`{name}` in a line is one word of the values. `version` empty: the client's own default."""

    cloud: Cloud
    version: str = ""

    def __call__(self, line: str, **values: str) -> str:
        """What a command that succeeds prints."""
        shown = self._run(line, values)
        assert shown.code == 0, f"openstack {line}: {shown.err or shown.out}"
        return shown.out

    def json(self, line: str, **values: str) -> Any:
        return json.loads(self(f"{line} -f json", **values))

    def fails(self, line: str, **values: str) -> str:
        """What a command that fails says."""
        shown = self._run(line, values)
        assert shown.code != 0, f"openstack {line} was done: {shown.out}"
        return shown.err + shown.out

    def _run(self, line: str, values: dict[str, str]) -> Shown:
        words = [word.format_map(values) for word in line.split()]
        at = ["--os-compute-api-version", self.version] if self.version else []
        return self.cloud.run(*words, options=[*self.cloud.options, *at])
