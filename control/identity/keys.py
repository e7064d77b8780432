"""Signing keys: stored encrypted under the site key, followed by a watch. The newest signs, all of them verify."""

import base64
import secrets
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final
from uuid import uuid4

import structlog
from attrs import field, frozen

from control.secrets import SiteKey, SiteKeyError
from kv.cache import Cache, Change
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import Unavailable
from schemas.identity import SigningKey

log = structlog.get_logger()

SETTLE: Final = timedelta(seconds=30)
"""A new key signs only after every process has had the time to hear of it; the first one signs at once."""
SECRET_BYTES: Final = 32


@frozen
class OpenKey:
    """A signing key in clear."""

    id: str
    secret: bytes = field(repr=False)
    created: datetime


class Keys:
    """`run` keeps it current. Read `signing` and `verifying`."""

    def __init__(self, store: Store, site_key: SiteKey) -> None:
        self.cache = Cache(store, Global.KEYS.under(), self._changed)
        self.version = 0
        """raised by every change"""
        self._site_key = site_key
        self._open: dict[str, OpenKey] = {}

    async def run(self) -> None:
        await self.cache.run()

    @property
    def ready(self) -> bool:
        return self.cache.synced.is_set() and bool(self._open)

    def signing(self, now: datetime) -> OpenKey:
        keys = self.verifying()
        settled = [key for key in keys if key.created <= now - SETTLE]
        return settled[0] if settled else keys[-1]

    def verifying(self) -> list[OpenKey]:
        """The newest first."""
        if not self._open:
            raise Unavailable("no signing key is known yet: run kilonova bootstrap, or wait until etcd answers")
        return sorted(self._open.values(), key=lambda key: (key.created, key.id), reverse=True)

    def _changed(self, change: Change[SigningKey]) -> None:
        self.version += 1
        if change.old:
            self._open.pop(change.old.value.id, None)
        if change.new:
            key = change.new.value
            try:
                self._open[key.id] = OpenKey(key.id, base64.b64decode(self._site_key.decrypt(key.secret)), key.created)
            except SiteKeyError as error:
                log.error("signing key cannot be used", key=key.id, reason=error.message)


async def ensure_signing_key(store: Store, site_key: SiteKey, now: datetime) -> None:
    """Adds one where there is none."""
    if not await store.range(Global.KEYS.under()):
        await add_signing_key(store, site_key, now)


async def add_signing_key(store: Store, site_key: SiteKey, now: datetime) -> SigningKey:
    """Rotation is adding a key: the new one signs soon, the older ones go on verifying."""
    secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES))
    key = SigningKey(id=uuid4().hex, secret=site_key.encrypt(secret), created=now)
    await store.commit(Txn("signing-key").create(Global.KEYS(key.id), key))
    return key


async def retire_signing_keys(store: Store, before: datetime) -> int:
    """Removes the keys whose successor is older than `before` (now minus the life of a token); the newest stays."""
    found = sorted(await store.range(Global.KEYS.under()), key=lambda s: (s.value.created, s.value.id))
    old = [key for key, successor in pairwise(found) if successor.value.created < before]
    for key in old:
        await store.commit(Txn("signing-key").remove(key))
    return len(old)
