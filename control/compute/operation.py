"""What the table of operations says of each."""

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from control.compute.call import Handler
from control.compute.policy import Role
from control.compute.validation import Schemas

Method = Literal["GET", "POST", "PUT", "DELETE"]


@frozen
class Operation:
    """`since` and `until` are the first and last microversions that have it. `rule` is Nova's policy name without
    prefix, checked before the handler runs; None leaves it to the handler or to nobody. `role` is its default.
    `success` is the code, or the codes by the microversion that each begins with."""

    name: str
    method: Method
    path: str
    handler: Handler
    success: int | Mapping[int, int] = 200
    rule: str | None = None
    role: Role = "any"
    action: str | None = None
    """the key of the body of a POST to `.../action`"""
    since: int = 1
    until: int | None = None
    body: Schemas | None = None
    query: Schemas | None = None
    reply: tuple[str, ...] = field(default=())
    """top-level keys of the answer, for OpenAPI"""

    def speaks(self, version: int) -> bool:
        return self.since <= version and (self.until is None or version <= self.until)

    def code(self, version: int) -> int:
        if isinstance(self.success, int):
            return self.success
        return self.success[max(v for v in self.success if v <= version)]
