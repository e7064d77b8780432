"""The body of POST /v3/auth/tokens, parsed: how one proves who one is, and what for."""

from typing import Any, Final, Literal

from attrs import field, frozen

from control.identity.claims import REFUSED
from schemas.errors import BadRequest, Unauthorized
from schemas.identity import DOMAIN, DOMAIN_NAME

METHODS: Final = ("password", "token")


@frozen
class Ref:
    """A user or project by id, or by name in the domain. The other one is None."""

    id: str | None
    name: str | None


@frozen
class Scope:
    """`default`: nothing was said, so it is the user's default project, if any."""

    kind: Literal["default", "unscoped", "project", "domain"]
    project: Ref | None = None


@frozen
class Login:
    methods: tuple[str, ...]
    user: Ref | None
    password: str = field(repr=False)
    token: str | None = field(repr=False)
    scope: Scope


def parse_login(body: Any) -> Login:
    """Raises BadRequest when it is not an authentication request, Unauthorized for what this site does not have."""
    auth = _dict(_dict(body, "the body").get("auth"), "auth")
    identity = _dict(auth.get("identity"), "auth.identity")
    methods = identity.get("methods")
    if not isinstance(methods, list) or not methods or not all(isinstance(m, str) for m in methods):
        raise _bad("auth.identity.methods must name at least one method")
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise Unauthorized(f"Attempted to authenticate with an unsupported method: {unknown[0]}.")
    user: Ref | None = None
    password: Any = ""
    token: Any = None
    if "password" in methods:
        given = _dict(_dict(identity.get("password"), "auth.identity.password").get("user"), "password.user")
        user, password = parse_ref(given, "user"), given.get("password")
        if not isinstance(password, str):
            raise _bad("password.user.password must be a string")
    if "token" in methods:
        token = _dict(identity.get("token"), "auth.identity.token").get("id")
        if not isinstance(token, str):
            raise _bad("token.id must be a string")
    return Login(tuple(dict.fromkeys(methods)), user, password, token, parse_scope(auth.get("scope")))


def parse_scope(scope: Any) -> Scope:
    if scope is None:
        return Scope("default")
    if scope == "unscoped" or (isinstance(scope, dict) and "unscoped" in scope):
        return Scope("unscoped")
    scope = _dict(scope, "auth.scope")
    if "project" in scope:
        return Scope("project", parse_ref(_dict(scope["project"], "scope.project"), "project"))
    if "domain" in scope:
        require_domain(scope["domain"])
        return Scope("domain")
    if "system" in scope:
        raise Unauthorized("This site has no system scope: authenticate for a project or a domain.")
    raise _bad("auth.scope must name a project, a domain, or be unscoped")


def parse_ref(given: dict[str, Any], noun: str) -> Ref:
    if isinstance(given.get("id"), str):
        return Ref(given["id"], None)
    if not isinstance(given.get("name"), str):
        raise _bad(f"{noun} must have an id, or a name and a domain")
    if "domain" not in given:
        raise _bad(f"{noun} must name its domain")
    require_domain(given["domain"])
    return Ref(None, given["name"])


def require_domain(given: Any) -> None:
    """Raises Unauthorized for any but the one that there is."""
    domain = _dict(given, "domain")
    if domain.get("id") != DOMAIN and domain.get("name") != DOMAIN_NAME:
        raise Unauthorized(REFUSED)


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{what} must be an object")
    return value


def _bad(why: str) -> BadRequest:
    return BadRequest(f"Expecting to find a valid authentication request: {why}.")
