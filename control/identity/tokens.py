"""Tokens: issued to those who proved who they are, verified on watched copies.

What a token is worth is looked up, not carried: a disabled user, a new password or a lost role counts at once.
"""

import asyncio
import base64
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import define, evolve, frozen
from cryptography.fernet import Fernet

from control.identity.accounts import USERS, update
from control.identity.claims import REFUSED, Claims, fernet, seal, unseal
from control.identity.directory import Directory
from control.identity.keys import Keys, OpenKey
from control.top import Top
from kv.keys import Global
from kv.txn import MAX_OPERATIONS, Txn
from schemas.errors import NotFound, Unauthorized
from schemas.identity import DOMAIN, SYSTEM, AppCredential, Identity, Project, RevokedToken, Role, User

REMEMBERED: Final = 10_000
"""tokens whose standing is kept while nothing changes"""
EXPIRED_WINDOW: Final = timedelta(days=2)
"""how long after its end a service may still ask about a token that was good when a long operation began"""
MOST_REVOKED: Final = 1000
"""records of revoked tokens that are kept of one user: the next revocation ends all tokens of that user instead"""
LONGEST: Final = 2048
"""characters; what is longer is not ours"""


@frozen
class Standing:
    """What a token is worth right now. `project` is None when it is scoped to none."""

    claims: Claims
    user: User
    project: Project | None
    roles: tuple[Role, ...]
    app: AppCredential | None = None
    """the one that it was got with"""

    @property
    def is_system(self) -> bool:
        return self.claims.scope == SYSTEM

    @property
    def identity(self) -> Identity:
        return Identity(
            user=self.user.id,
            user_name=self.user.name,
            project=self.project.id if self.project else "",
            project_name=self.project.name if self.project else "",
            roles=frozenset(role.name for role in self.roles),
            expires=self.claims.expires,
            domain=DOMAIN if self.claims.scope == DOMAIN else "",
            system=self.is_system,
        )


@define
class _Seen:
    standing: Standing
    identity: Identity
    version: tuple[int, int]


class Tokens:
    """`run` keeps what verification reads; `ready` says that all of it is there."""

    def __init__(self, keys: Keys, directory: Directory, life: timedelta) -> None:
        self.keys = keys
        self.directory = directory
        self._life = life
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._fernets: dict[str, Fernet] = {}

    @classmethod
    def at(cls, top: Top) -> "Tokens":
        life = timedelta(hours=top.settings.api.token_hours)
        return cls(Keys(top.store, top.key), Directory(top.store), life)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keys.run(), name="signing keys")
            group.create_task(self.directory.run(), name="identity directory")

    @property
    def ready(self) -> bool:
        return self.keys.ready and self.directory.ready

    async def until_ready(self) -> None:
        await self.keys.cache.synced.wait()
        await self.directory.until_ready()

    async def issue(
        self,
        user: User,
        scope: str | None,
        methods: tuple[str, ...],
        *,
        parent: Claims | None = None,
        app: AppCredential | None = None,
    ) -> tuple[str, Standing]:
        """A token for `user`, scoped to a project, the domain, the system, or to nothing. One that is got with another
        token (`parent`) ends when that ends, one of an application credential not later than that. Raises
        Unauthorized when the user may not enter the scope."""
        now = datetime.now(UTC)
        ends = (now + self._life, parent.expires if parent else None, app.expires if app else None)
        claims = Claims(
            user=user.id,
            scope=scope,
            methods=methods,
            issued=now,
            expires=min(end for end in ends if end),
            epoch=user.epoch,
            audit=(_audit_id(), *(parent.audit[-1:] if parent else ())),
            app=app.id if app else parent.app if parent else None,
        )
        standing = await self._stand(claims, user)
        return seal(claims, self._fernet(self.keys.signing(now))), standing

    async def verify(self, token: str) -> Identity:
        """Whom the token speaks for. Raises Unauthorized with the text that clients know."""
        seen = self._remembered(token)
        return seen.identity if seen else (await self.inspect(token)).identity

    async def inspect(self, token: str) -> Standing:
        """As `verify`, with the whole standing."""
        seen = self._remembered(token)
        if seen:
            return seen.standing
        version = self._version
        claims = self._unsealed(token)
        if claims is None:
            raise Unauthorized(REFUSED)
        standing = await self._look_up(claims)
        self._seen[token] = _Seen(standing, standing.identity, version)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return standing

    def window(self, query: Mapping[str, str]) -> timedelta:
        """What `allow_expired` in a query means for `subject`."""
        allowed = query.get("allow_expired", "").lower() in ("1", "t", "true", "on", "y", "yes")
        return EXPIRED_WINDOW if allowed else timedelta()

    async def subject(self, token: str, window: timedelta = timedelta()) -> Standing:
        """The standing of a token that is asked about; `window`: how long ago it may have expired. Raises NotFound in
        Keystone's words."""
        if not token:
            raise NotFound("No token in the request")
        with contextlib.suppress(Unauthorized):
            return await self.inspect(token)
        claims = self._unsealed(token)
        if claims is None:
            raise NotFound("Could not recognize Fernet token")
        try:
            return await self._look_up(claims, window)
        except Unauthorized as error:
            raise NotFound("Failed to validate token") from error

    async def revoke(self, standing: Standing) -> None:
        """Ends one token. The record goes with its lease when nobody may ask about the token any more."""
        left = standing.claims.expires + EXPIRED_WINDOW - datetime.now(UTC)
        store, user = self.directory.store, standing.user.id
        if await store.count(Global.REVOKED_TOKENS.under(user)) >= MOST_REVOKED:
            await self._revoke_all(user)
            return
        lease = await store.etcd.grant(max(1, int(left.total_seconds()) + 1))
        key = Global.REVOKED_TOKENS(user, standing.claims.audit[0])
        revision = await store.commit(Txn("token-revoke").put(key, RevokedToken(standing.claims.expires), lease))
        await self.directory.wait_until(revision)

    async def _revoke_all(self, user: str) -> None:
        """Ends all tokens of the user; what is kept of single ones is needed no more."""
        _, revision = await update(self.directory.store, USERS, user, lambda now: evolve(now, epoch=now.epoch + 1))
        spent = await self.directory.store.range(Global.REVOKED_TOKENS.under(user))
        for start in range(0, len(spent), MAX_OPERATIONS // 2):
            txn = Txn("tokens-revoked")
            for one in spent[start : start + MAX_OPERATIONS // 2]:
                txn.delete(one.key)
            revision = await self.directory.store.commit(txn)
        await self.directory.wait_until(revision)

    @property
    def _version(self) -> tuple[int, int]:
        return self.directory.version, self.keys.version

    def _remembered(self, token: str) -> _Seen | None:
        seen = self._seen.get(token)
        if seen is None or seen.version != self._version or seen.standing.claims.expires <= datetime.now(UTC):
            return None
        self._seen.move_to_end(token)
        return seen

    def _unsealed(self, token: str) -> Claims | None:
        return unseal(token, map(self._fernet, self.keys.verifying())) if len(token) <= LONGEST else None

    async def _look_up(self, claims: Claims, window: timedelta = timedelta()) -> Standing:
        user = await self.directory.user(claims.user)
        if user is None or user.epoch < claims.epoch:  # the watch may be a moment behind
            user = await self.directory.login_user(claims.user, None)
        if user is None:
            raise Unauthorized(REFUSED)
        return await self._stand(claims, user, window)

    async def _stand(self, claims: Claims, user: User, window: timedelta = timedelta()) -> Standing:
        revoked = self.directory.revoked
        if (
            claims.expires + window <= datetime.now(UTC)
            or not user.enabled
            or user.epoch != claims.epoch
            or any(revoked.get(Global.REVOKED_TOKENS(user.id, audit)) for audit in claims.audit)
        ):
            raise Unauthorized(REFUSED)
        app = None
        if claims.app is not None:
            app = await self.directory.app_credential(claims.app)
            if app is None:
                raise Unauthorized(REFUSED)
        if claims.scope is None:
            return Standing(claims, user, None, (), app)
        project = None
        if claims.scope not in (DOMAIN, SYSTEM):
            project = await self.directory.project(claims.scope)
            if project is None or not project.enabled:
                raise Unauthorized(REFUSED)
            if project.disabled_at and claims.issued <= project.disabled_at:
                raise Unauthorized(REFUSED)
        roles = self.directory.with_implied(await self.directory.roles_on(user.id, claims.scope))
        if app is not None:
            given = tuple(role for role in roles if role.id in app.roles)
            roles = self.directory.with_implied(given)
        if not roles:
            raise Unauthorized(REFUSED)
        return Standing(claims, user, project, roles, app)

    def _fernet(self, key: OpenKey) -> Fernet:
        if key.id not in self._fernets:
            self._fernets[key.id] = fernet(key.secret)
        return self._fernets[key.id]


def _audit_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
