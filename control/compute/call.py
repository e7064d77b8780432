"""One request, as its handler sees it, and what a handler may answer."""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field, frozen

from control.compute.policy import Policy
from control.compute.urls import Urls
from control.top import Top
from schemas.identity import Identity

Body = dict[str, Any]
Query = dict[str, list[str]]


@frozen
class Answer:
    """For a handler that does not answer its operation's success code with a body. `location` becomes a header."""

    body: Body | None = None
    status: int | None = None
    location: str | None = None


@define(eq=False)
class Call:
    """`version` is the minor number of the microversion; `params` come from the path; `query` and `body` are
    validated. An operation without a schema has an empty body."""

    top: Top
    policy: Policy
    identity: Identity
    version: int
    urls: Urls
    path: str = ""
    """below the version and project, as in links"""
    legacy: bool = False
    params: dict[str, str] = field(factory=dict)
    query: Query = field(factory=dict)
    body: Body = field(factory=dict)

    def arg(self, name: str) -> str | None:
        """A query parameter; the last one when it is repeated."""
        values = self.query.get(name)
        return values[-1] if values else None

    def allows(self, rule: str, project: str | None = None, user: str | None = None) -> bool:
        return self.policy.allows(self.identity, rule, project, user)

    def check(self, rule: str, project: str | None = None, user: str | None = None) -> None:
        """Raises Forbidden."""
        self.policy.check(self.identity, rule, project, user)

    @property
    def sees_all(self) -> bool:
        """Whether servers of other projects are found."""
        return self.identity.is_admin


Handler = Callable[[Call], Awaitable[Body | Answer | None]]
