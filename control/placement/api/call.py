"""One request as its handler sees it, and what a handler may answer."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from attrs import define, field, frozen

from control.placement.api.policy import Policy
from control.placement.memberships import Memberships
from control.placement.view import View
from control.placement.writer import Writer
from schemas.identity import Identity
from schemas.settings import PlacementSettings

Query = dict[str, list[str]]


class Clock(Protocol):
    def __call__(self) -> datetime: ...


@frozen
class Answer:
    """`body` is JSON already or becomes it; None: no body at all. `modified` is told from 1.15 on, with `always` in
    every version; None: the answer bears no date."""

    body: Any = None
    status: int = 200
    location: str | None = None
    modified: datetime | None = None
    always: bool = False


@define(eq=False)
class Call:
    """`version` is the minor number of the microversion; `params` come from the path, `query` and `body` are
    validated. `mount` is the path under which the API stands, as in links."""

    view: View
    writer: Writer
    memberships: Memberships
    policy: Policy
    settings: PlacementSettings
    identity: Identity
    version: int
    mount: str
    now: datetime
    params: dict[str, str] = field(factory=dict)
    query: Query = field(factory=dict)
    body: Any = None

    def arg(self, name: str) -> str | None:
        """A query parameter; the last one when it is repeated."""
        values = self.query.get(name)
        return values[-1] if values else None


Handler = Callable[[Call], Awaitable[Answer]]
