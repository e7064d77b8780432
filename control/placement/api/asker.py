"""Whom a request speaks for: by a token of the identity service or, for tests and tools, by its headers alone."""

from collections.abc import Mapping
from typing import Protocol

from schemas.errors import Unauthorized
from schemas.identity import Identity

Headers = Mapping[str, str]

NO_TOKEN = "The request you have made requires authentication."


class Verifier(Protocol):
    """Tells whom a token speaks for; raises Unauthorized."""

    async def verify(self, token: str) -> Identity: ...


class ByToken:
    def __init__(self, tokens: Verifier) -> None:
        self._tokens = tokens

    async def __call__(self, headers: Headers) -> Identity:
        """Raises Unauthorized."""
        token = headers.get("x-auth-token")
        if not token:
            raise Unauthorized(NO_TOKEN)
        return await self._tokens.verify(token)


class ByHeaders:
    """Placement's `noauth2`: believes what it is told. `x-auth-token: USER[:PROJECT]`, `x-roles`, `x-project-id` and
    `openstack-system-scope`; the user `admin` has the role of that name unless roles are given."""

    async def __call__(self, headers: Headers) -> Identity:
        """Raises Unauthorized."""
        token = headers.get("x-auth-token")
        if token is None:
            raise Unauthorized(NO_TOKEN)
        user, _, project = token.partition(":")
        given = headers.get("x-roles")
        if given is not None:
            roles = frozenset(r.strip() for r in given.split(",") if r.strip())
        else:
            roles = frozenset({"admin"}) if user == "admin" else frozenset()
        system = bool(headers.get("openstack-system-scope"))
        project = "" if system else headers.get("x-project-id") or project or user
        return Identity(user=user, user_name=user, project=project, project_name=project, roles=roles, system=system)
