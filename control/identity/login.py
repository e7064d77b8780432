"""The body of POST /v3/auth/tokens, parsed: how one proves who one is, and what for."""

from typing import Any, Final, Literal

from attrs import field, frozen

from control.identity.claims import REFUSED
from control.identity.schemas import malformed, validate
from schemas.errors import BadRequest, Unauthorized
from schemas.identity import DOMAIN, DOMAIN_NAME

METHODS: Final = ("password", "token", "application_credential")
SCOPES: Final = ("project", "domain", "system", "unscoped", "OS-TRUST:trust")


@frozen
class Ref:
    """A user or project by id, or by name in the domain. The other one is None."""

    id: str | None
    name: str | None


@frozen
class Scope:
    """`default`: nothing was said, so it is the user's default project, if any."""

    kind: Literal["default", "unscoped", "project", "domain", "system"]
    project: Ref | None = None


@frozen
class AppLogin:
    """An application credential by id, or by name and user."""

    ref: Ref
    user: Ref | None
    secret: str = field(repr=False)


@frozen
class Login:
    methods: tuple[str, ...]
    user: Ref | None
    password: str = field(repr=False)
    token: str | None = field(repr=False)
    scope: Scope
    app: AppLogin | None = None


def parse_login(body: dict[str, Any]) -> Login:
    """Raises BadRequest when it is not an authentication request, Unauthorized for what this site does not have."""
    auth = body.get("auth")
    if auth is None:
        raise malformed("auth", "request body")
    validate("auth", auth)
    identity: dict[str, Any] = auth["identity"]
    methods: tuple[str, ...] = tuple(dict.fromkeys(identity["methods"]))
    for method in methods:
        if method not in identity:
            raise malformed(method, "identity")
    if any(method not in METHODS for method in methods):
        raise Unauthorized("Attempted to authenticate with an unsupported method.")
    scope = parse_scope(auth.get("scope"))
    user, password = _password(identity["password"]) if "password" in methods else (None, "")
    token: str | None = identity["token"]["id"] if "token" in methods else None
    app = None
    if "application_credential" in methods:
        if scope.kind != "default":
            raise Unauthorized(
                "Error authenticating with application credential: Application credentials cannot request a scope."
            )
        app = _app_login(identity["application_credential"])
    return Login(methods, user, password, token, scope, app)


def parse_scope(scope: Any) -> Scope:
    if scope is None:
        return Scope("default")
    if scope == "unscoped":
        return Scope("unscoped")
    if not isinstance(scope, dict) or sum(kind in scope for kind in SCOPES) != 1:
        raise malformed("project, domain, OS-TRUST:trust or unscoped", "scope")
    kind = next(kind for kind in SCOPES if kind in scope)
    if kind == "project":
        return Scope("project", parse_ref(scope["project"], "project", "scope/project"))
    if kind == "domain":
        _has_a_name(scope["domain"], "scope/domain")
        require_domain(scope["domain"])
        return Scope("domain")
    if kind == "system":
        if not scope["system"].get("all"):
            raise malformed("system[all]", "scope")
        return Scope("system")
    if kind == "unscoped":
        return Scope("unscoped")
    raise Unauthorized(REFUSED)  # there are no trusts


def parse_ref(given: dict[str, Any], noun: str, where: str) -> Ref:
    _has_a_name(given, where)
    if "id" in given:
        return Ref(given["id"], None)
    if "domain" not in given:
        raise malformed("domain", noun)
    _has_a_name(given["domain"], f"{where}/domain")
    require_domain(given["domain"])
    return Ref(None, given["name"])


def require_domain(given: dict[str, Any]) -> None:
    """Raises Unauthorized for any but the one that there is."""
    if (given["id"] != DOMAIN) if "id" in given else (given.get("name") != DOMAIN_NAME):
        raise Unauthorized(REFUSED)


def _password(given: dict[str, Any]) -> tuple[Ref, str]:
    if "user" not in given:
        raise malformed("user", "password")
    user = given["user"]
    ref = parse_ref(user, "user", "identity/password/user")
    if "password" not in user:
        raise malformed("password", "user")
    return ref, user["password"]


def _app_login(given: dict[str, Any]) -> AppLogin:
    if "id" in given:
        return AppLogin(Ref(given["id"], None), None, given["secret"])
    if "name" not in given:
        raise malformed("id or name", "application_credential")
    if "user" not in given:
        raise malformed("user", "application_credential")
    user = parse_ref(given["user"], "user", "identity/application_credential/user")
    return AppLogin(Ref(None, given["name"]), user, given["secret"])


def _has_a_name(given: dict[str, Any], where: str) -> None:
    if "id" not in given and "name" not in given:
        raise BadRequest(f"Invalid input for field {where}: id or name must be present.")
