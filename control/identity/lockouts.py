"""Keystone's lockout: so many wrong passwords in a row close an account for a time, in every process of the API.

Source: keystone `[security_compliance] lockout_failure_attempts` and `lockout_duration`, and the user option
`ignore_lockout_failure_attempts`.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from control.identity.options import IGNORE_LOCKOUT
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import CompareFailed
from schemas.identity import FailedLogins, User

TRIES: Final = 20


@frozen
class Lockouts:
    store: Store
    attempts: int
    """wrong passwords that close an account; 0: none do"""
    duration: timedelta
    """how long it is closed; nothing: until an administrator enables the user"""

    def concerns(self, user: User) -> bool:
        return self.attempts > 0 and not user.options.get(IGNORE_LOCKOUT)

    async def is_locked(self, user: User, now: datetime) -> bool:
        if not self.concerns(user):
            return False
        stored = await self.store.get(Global.FAILED_LOGINS(user.id))
        return stored is not None and self._locks(stored.value, now)

    async def failed(self, user: User, now: datetime) -> None:
        """Counts one. While the account is closed nothing counts, and afterwards it begins at one again."""
        if not self.concerns(user):
            return
        key = Global.FAILED_LOGINS(user.id)
        for _ in range(TRIES):
            stored = await self.store.get(key)
            had = stored.value if stored else FailedLogins(0, now)
            if self._locks(had, now):
                return
            count = 1 if had.count >= self.attempts else had.count + 1
            txn = Txn("login-failed").at(key, stored.mod_revision if stored else 0)
            try:
                await self.store.commit(txn.put(key, FailedLogins(count, now)))
            except CompareFailed:
                continue
            return

    async def reopen(self, user: str) -> None:
        """After a right password, or by an administrator. Nothing is written where nothing had failed."""
        if self.attempts:
            await self.forget(user)

    async def forget(self, user: str) -> None:
        """As `reopen`, whether a lockout is configured or not."""
        stored = await self.store.get(Global.FAILED_LOGINS(user))
        if stored:
            await self.store.commit(Txn("login-reopened").delete(stored.key))

    def _locks(self, failed: FailedLogins, now: datetime) -> bool:
        if failed.count < self.attempts:
            return False
        return not self.duration or now < failed.last + self.duration
