"""Passwords and secrets as they are tried: who tries how often, and whether the account is open."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from attrs import define, field
from starlette.requests import Request

from control.identity.attempts import Attempts
from control.identity.lockouts import Lockouts
from control.identity.passwords import Passwords
from control.identity.source import Network, networks, source_of
from kv.store import Store
from schemas.identity import User
from schemas.settings import ApiSettings


@define(eq=False)
class LoginGuard:
    """One a process."""

    passwords: Passwords
    lockouts: Lockouts
    trusted: Sequence[Network] = ()
    attempts: Attempts = field(factory=Attempts)

    @classmethod
    def at(cls, store: Store, api: ApiSettings) -> "LoginGuard":
        login = api.login
        lockouts = Lockouts(store, login.lockout_failure_attempts, timedelta(seconds=login.lockout_duration))
        return cls(Passwords(login.hashing_share), lockouts, networks(api.trusted_proxies))

    def source(self, request: Request) -> str:
        """Where the request comes from."""
        peer = request.client.host if request.client else ""
        return source_of(peer, ",".join(request.headers.getlist("x-forwarded-for")), self.trusted)

    async def admits(self, source: str, account: str, user: User | None, stored: str | None, secret: str) -> bool:
        """Whether the secret is the one whose hash is stored.

        `account` is what is tried, whether it exists or not; failures count for a lockout of `user`.

        Raises:
            TooManyRequests: The source or the account failed too often, or the source has too much waiting.
            Unavailable: All sources together have too much waiting.
        """
        self.attempts.require_allowed(source, account, time.monotonic())
        async with self.passwords.queue.turn(source, account):
            self.attempts.require_allowed(source, account, time.monotonic())
            locked = user is not None and await self.lockouts.is_locked(user, datetime.now(UTC))
            good = await self.passwords.matches_now(stored, secret) and not locked
            if user and not good:
                await self.lockouts.failed(user, datetime.now(UTC))
        if not good:
            self.attempts.failed(source, account, time.monotonic())
            return False
        self.attempts.succeeded(source, account)
        if user and self.lockouts.concerns(user):
            await self.lockouts.reopen(user.id)
        return True
