"""What the table of operations says of each."""

from collections.abc import Callable
from typing import Literal

from attrs import frozen

from control.placement.api.call import Call, Handler
from control.placement.api.validation import Schemas

Method = Literal["GET", "POST", "PUT", "DELETE"]


@frozen
class Operation:
    """`since` and `until` are the first and last microversions that have it; outside of them it answers `outside`.
    `rule` is Placement's policy name without `placement:`; None: nobody is asked. `own`: its target is a project that
    the query names."""

    method: Method
    path: str
    handler: Handler
    rule: str | None
    since: int = 0
    until: int | None = None
    outside: Literal[404, 405] = 404
    body: Schemas | None = None
    query: Schemas | None = None
    lists: bool = True
    """a GET that answers JSON, and nothing else when the client does not accept that"""
    own: bool = False
    before: Callable[[Call], None] | None = None
    """a check that goes before that of the body"""
    body_first: bool = False
    """a bad body is told of even where the provider that it is about does not exist"""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def speaks(self, version: int) -> bool:
        return self.since <= version and (self.until is None or version <= self.until)
