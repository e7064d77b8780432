"""`kilonova keys`: the keys that sign tokens and leave to fetch images; works with every service stopped."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from control.identity.keys import SETTLE, add_signing_key, retire_signing_keys
from control.identity.tokens import EXPIRED_WINDOW
from control.secrets import SiteKey, SiteKeyError
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import Conflict, NotFound
from schemas.identity import SigningKey
from schemas.settings import Settings

T = TypeVar("T")


def list_keys(settings: Settings) -> None:
    """Prints them, the newest first, and what each is for."""
    keys, opens = asyncio.run(_with_store(settings, lambda store: _list(settings, store)))
    now = datetime.now(UTC)
    for key, use in zip(keys, uses(keys, now), strict=True):
        closed = "" if opens[key.id] else "  NOT USABLE: encrypted under another site key"
        print(f"{key.id}  {key.created.isoformat(timespec='seconds')}  {use}{closed}")


def rotate_keys(settings: Settings) -> None:
    """Adds a key, and removes those whose last token has expired. Tokens of the others stay valid."""
    key, gone = asyncio.run(_with_store(settings, lambda store: _rotate(settings, store)))
    print(f"added {key.id}: it signs from {(key.created + SETTLE).isoformat(timespec='seconds')} on, when all know it")
    print(f"removed {gone} whose last token has expired")


def remove_key(settings: Settings, key: str) -> None:
    """At once: what it signed is worth nothing any more. Raises NotFound, and Conflict for the only one."""
    asyncio.run(_with_store(settings, lambda store: _remove(store, key)))
    print(f"removed {key}: tokens that it signed are refused from now on")


def uses(keys: list[SigningKey], now: datetime) -> list[str]:
    """What each of `keys`, the newest first, is for."""
    settled = [key.created <= now - SETTLE for key in keys]
    signing = settled.index(True) if True in settled else len(keys) - 1
    return ["soon signs" if n < signing else "signs" if n == signing else "verifies" for n in range(len(keys))]


async def _list(settings: Settings, store: Store) -> tuple[list[SigningKey], dict[str, bool]]:
    site = SiteKey.load(settings.top.site_key_file)
    found = [stored.value for stored in await store.range(Global.KEYS.under())]
    keys = sorted(found, key=lambda key: (key.created, key.id), reverse=True)
    return keys, {key.id: _opens(site, key) for key in keys}


async def _rotate(settings: Settings, store: Store) -> tuple[SigningKey, int]:
    now = datetime.now(UTC)
    key = await add_signing_key(store, SiteKey.load(settings.top.site_key_file), now)
    life = timedelta(hours=settings.api.token_hours)
    return key, await retire_signing_keys(store, now - life - EXPIRED_WINDOW)


async def _remove(store: Store, key: str) -> None:
    found = await store.range(Global.KEYS.under())
    known = next((stored for stored in found if stored.value.id == key), None)
    if known is None:
        raise NotFound(f"there is no signing key {key}: kilonova keys list shows those that there are")
    if len(found) == 1:
        raise Conflict("it is the only signing key: add another first with kilonova keys rotate")
    txn = Txn("signing-key").remove(known)
    for other in found:
        if other is not known:
            txn.unchanged(other)
    await store.commit(txn)


def _opens(site: SiteKey, key: SigningKey) -> bool:
    try:
        site.decrypt(key.secret)
    except SiteKeyError:
        return False
    return True


async def _with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    etcd = Etcd(settings.top.store)
    try:
        return await work(Store(etcd, settings.top.prefix))
    finally:
        await etcd.close()
