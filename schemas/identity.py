"""Who may ask: domains are one (`default`), users, projects, roles and what roles a user has where."""

from datetime import datetime
from typing import Any

from attrs import field, frozen

from schemas.codec import record

DOMAIN = "default"
"""The one domain. An assignment on it as a project is a role in the domain."""
DOMAIN_NAME = "Default"
SYSTEM = "system"
"""An assignment on it as a project is a role on the whole system."""


@record(1)
@frozen
class User:
    id: str
    name: str
    password_hash: str = field(repr=False)
    """empty: no password opens it"""
    created: datetime
    enabled: bool = True
    default_project: str | None = None
    extra: dict[str, Any] = field(factory=dict)
    """whatever else a client gave: email, description, ...; shown beside the rest, as Keystone does"""
    epoch: int = 0
    """raised when the password changes or tokens are revoked: tokens carry it"""
    options: dict[str, Any] = field(factory=dict)


@record(1)
@frozen
class FailedLogins:
    """Wrong passwords of one user in a row, kept where a lockout is configured."""

    count: int
    last: datetime


@record(1)
@frozen
class Project:
    id: str
    name: str
    created: datetime
    enabled: bool = True
    description: str = ""
    tags: tuple[str, ...] = ()
    parent: str = DOMAIN
    """another project, or the domain"""
    extra: dict[str, Any] = field(factory=dict)
    options: dict[str, Any] = field(factory=dict)
    disabled_at: datetime | None = None
    """when it was last disabled: tokens for it from before then are over, also after it was enabled again"""


@record(1)
@frozen
class Role:
    id: str
    name: str
    description: str = ""
    extra: dict[str, Any] = field(factory=dict)
    options: dict[str, Any] = field(factory=dict)


@record(1)
@frozen
class Assignment:
    """The roles, by id, of one user in one project, in the domain (`DOMAIN`) or on the system (`SYSTEM`)."""

    user: str
    project: str
    roles: frozenset[str]


@record(1)
@frozen
class AppCredential:
    """What a program logs in with in its user's stead, for one project, with some of its roles."""

    id: str
    name: str
    user: str
    project: str
    secret_hash: str = field(repr=False)
    roles: frozenset[str]
    """by id; what of them the user has lost since does not count"""
    description: str | None = None
    expires: datetime | None = None
    unrestricted: bool = False
    """whether its tokens may make and delete application credentials"""


@record(1)
@frozen
class Region:
    """Where the catalog says that this site is; the last one written counts."""

    id: str


@record(1)
@frozen
class NameIndex:
    """Makes a name unique within its kind."""

    id: str


@record(1)
@frozen
class SigningKey:
    """A key, encrypted under the site key. The newest signs, all that are stored verify."""

    id: str
    secret: str = field(repr=False)
    created: datetime


@record(1)
@frozen
class RevokedToken:
    """A token that was revoked before its time, by its audit id. Its lease ends when services may no longer ask about
    the token, some days after it would have ended."""

    expires: datetime


@frozen
class Identity:
    """Whom a request speaks for, after its token was verified."""

    user: str
    user_name: str
    project: str
    project_name: str
    roles: frozenset[str] = field(factory=frozenset)
    expires: datetime | None = None
    request_id: str = ""
    domain: str = ""
    """set when the token is scoped to it; `project` is empty then"""
    system: bool = False
    """whether the token is scoped to the system; `project` is empty then"""

    admin: bool | None = None
    """what a service's own policy says of it; None: the role decides"""

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles if self.admin is None else self.admin
