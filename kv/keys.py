"""Every etcd key, in two tables: the global store's and a cell's. A store's prefix goes before them."""

from string import Formatter
from typing import Generic, TypeVar

from attrs import frozen

from schemas.aggregate import Aggregate, Counter
from schemas.flavor import Flavor, KeyPair
from schemas.group import ServerGroup
from schemas.host import Alive, CellMapping, FailedBuilds, Host, HostMapping, Service
from schemas.identity import (
    AppCredential,
    Assignment,
    FailedLogins,
    NameIndex,
    Project,
    Region,
    RevokedToken,
    Role,
    SigningKey,
    User,
)
from schemas.image import Blob, Image, ImageUsage, Waste
from schemas.operation import Action, Deleted, Operation, Outbox
from schemas.placement import Allocation, Children, Erasures, Provider, ResourceClass, Trait, Usages, UsedAggregate
from schemas.quota import QuotaLimits, QuotaUsage, Tally
from schemas.server import BuildRequest, HostedServer, Instance, InstanceMapping, RequestSpec, ServerIndex, UserData

R = TypeVar("R")


@frozen
class Key(Generic[R]):
    path: str
    cls: type[R]


@frozen
class Span(Generic[R]):
    """All keys in [start, end)."""

    start: str
    end: str
    cls: type[R]


def _quote(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2f") if "/" in part or "%" in part else part


def unquoted(part: str) -> str:
    """A part of a path as it was given."""
    return part.replace("%2f", "/").replace("%25", "%") if "%" in part else part


def _end(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Family(Generic[R]):
    """The keys of one record: a template such as `instances/{project}/{time_key}`."""

    def __init__(self, template: str, cls: type[R]) -> None:
        self.template = template
        self.cls = cls
        self._parts = [(literal, name) for literal, name, _, _ in Formatter().parse(template)]
        self._count = sum(1 for _, name in self._parts if name)
        self._stem = self._parts[0][0] if self._count == len(self._parts) == 1 else None
        """of a family with one part, which is the last"""

    def __call__(self, *parts: str | int) -> Key[R]:
        if len(parts) != self._count:
            raise TypeError(f"{self.template} takes other parts than {parts}")
        if self._stem is not None:
            return Key(self._stem + _quote(str(parts[0])), self.cls)
        return Key(self._join(parts), self.cls)

    def under(self, *parts: str | int) -> Span[R]:
        """All keys that begin with these leading parts."""
        path = self._join(parts)
        return Span(path, _end(path), self.cls)

    def between(self, *parts: str | int, start: str = "", end: str | None = None) -> Span[R]:
        """Those under `parts` whose next part lies in [start, end)."""
        path = self._join(parts)
        return Span(path + start, path + end if end is not None else _end(path), self.cls)

    def _join(self, parts: tuple[str | int, ...]) -> str:
        out, left = [], list(parts)
        for literal, name in self._parts:
            out.append(literal)
            if not name or not left:
                break
            out.append(_quote(str(left.pop(0))))
        return "".join(out)


class Global:
    """The global store."""

    CELLS = Family("cells/{cell}", CellMapping)
    HOSTS = Family("hosts/{host}", HostMapping)
    INSTANCES = Family("instances/{uuid}", InstanceMapping)
    PROJECT_SERVERS = Family("projects/{project}/instances/{time_key}", ServerIndex)
    ALL_SERVERS = Family("by-time/{time_key}", ServerIndex)
    REQUESTS = Family("requests/{uuid}", BuildRequest)
    SPECS = Family("specs/{uuid}", RequestSpec)
    FLAVORS = Family("flavors/{id}", Flavor)
    FLAVOR_NAMES = Family("flavor-names/{name}", NameIndex)
    KEYPAIRS = Family("keypairs/{user}/{name}", KeyPair)
    KEYPAIR_TALLIES = Family("keypair-tallies/{user}", Tally)
    QUOTA_CLASSES = Family("quotas/classes/{name}", QuotaLimits)
    QUOTA_LIMITS = Family("quotas/limits/{project}", QuotaLimits)
    USER_QUOTA_LIMITS = Family("quotas/user-limits/{project}/{user}", QuotaLimits)
    QUOTA_USAGE = Family("quotas/usage/{project}", QuotaUsage)
    PLACEMENT = Span("placement/", _end("placement/"), object)
    """all of it, that one watch may tell of each transaction as a whole"""
    PROVIDERS = Family("placement/providers/{uuid}", Provider)
    USAGES = Family("placement/usages/{uuid}", Usages)
    PROVIDER_NAMES = Family("placement/names/{name}", NameIndex)
    PROVIDER_CHILDREN = Family("placement/children/{parent}", Children)
    ALLOCATIONS = Family("placement/allocations/{consumer}", Allocation)
    TRAITS = Family("placement/traits/{name}", Trait)
    RESOURCE_CLASSES = Family("placement/classes/{name}", ResourceClass)
    USED_AGGREGATES = Family("placement/used-aggregates/{uuid}", UsedAggregate)
    ERASURES = Family("placement/erasures/{all}", Erasures)
    AGGREGATES = Family("aggregates/{id}", Aggregate)
    GROUPS = Family("groups/{uuid}", ServerGroup)
    PROJECT_GROUPS = Family("project-groups/{project}/{time_key}", str)
    COUNTERS = Family("counters/{name}", Counter)
    OPERATIONS = Family("operations/{shard}/{uuid}", Operation)
    LEASES = Family("leases/{shard}", str)
    MEMBERS = Family("members/{pod}", str)
    KEYS = Family("keys/{id}", SigningKey)
    USERS = Family("users/{id}", User)
    USER_NAMES = Family("user-names/{name}", NameIndex)
    FAILED_LOGINS = Family("failed-logins/{user}", FailedLogins)
    IDENTITY_PROJECTS = Family("identity-projects/{id}", Project)
    PROJECT_NAMES = Family("project-names/{name}", NameIndex)
    ROLES = Family("roles/{id}", Role)
    ROLE_NAMES = Family("role-names/{name}", NameIndex)
    ASSIGNMENTS = Family("assignments/{user}/{project}", Assignment)
    APP_CREDENTIALS = Family("app-credentials/{id}", AppCredential)
    APP_CREDENTIAL_NAMES = Family("app-credential-names/{user}/{name}", NameIndex)
    REGIONS = Family("regions/{id}", Region)
    REVOKED_TOKENS = Family("revoked-tokens/{user}/{audit}", RevokedToken)
    APP_CREDENTIAL_TALLIES = Family("app-credential-tallies/{user}", Tally)
    IMAGES = Family("images/{id}", Image)
    IMAGE_USAGE = Family("image-usage/{project}", ImageUsage)
    IMAGE_IDS = Family("image-ids/{id}", NameIndex)
    """that administrators chose; they stay when their images go"""
    BLOBS = Family("blobs/{digest}", Blob)
    WASTE = Family("waste/{object}", Waste)
    SERVICES = Family("services/{binary}/{pod}", Service)


class Cell:
    """A cell's store; cell0 has the same."""

    INSTANCES = Family("instances/{project}/{time_key}", Instance)
    USER_DATA = Family("user-data/{uuid}", UserData)
    BY_HOST = Family("by-host/{host}/{uuid}", HostedServer)
    OPERATIONS = Family("operations/{shard}/{uuid}", Operation)
    OUTBOX = Family("outbox/{uuid}/{attempt}", Outbox)
    FENCES = Family("fences/{shard}", str)
    DELETED = Family("deleted/{day}/{uuid}", Deleted)
    DELETED_OF = Family("deleted-of/{day}/{project}/{uuid}", str)
    ACTIONS = Family("actions/{uuid}/{request_id}", Action)
    HOSTS = Family("hosts/{host}", Host)
    SERVICES = Family("services/{binary}/{host}", Service)
    ALIVE = Family("alive/{host}", Alive)
    FAILED_BUILDS = Family("failed-builds/{host}", FailedBuilds)
    LEASES = Family("leases/{shard}", str)
    MEMBERS = Family("members/{pod}", str)
