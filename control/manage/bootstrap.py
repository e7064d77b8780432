"""`kilonova bootstrap`: what a new site begins with."""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

import orjson

from control.identity.bootstrap import bootstrap_identity
from control.secrets import SiteKey
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from runtime import ambient
from schemas.errors import BadRequest
from schemas.host import BusAddress, CellMapping, StoreAddress
from schemas.server import CELL0
from schemas.settings import Settings, StoreSettings

CELL0_UUID = str(UUID(int=0))


def bootstrap_site(settings: Settings, password: str, demo_password: str | None, region: str) -> None:
    """Again is fine: what is there stays, the mappings and passwords become the given ones."""
    if not password:
        raise BadRequest("give the admin's password with --password or KILONOVA_ADMIN_PASSWORD")
    asyncio.run(_bootstrap(settings, password, demo_password, region))
    print("bootstrapped: cells, roles, projects and users are there", file=sys.stderr)


async def _bootstrap(settings: Settings, password: str, demo_password: str | None, region: str) -> None:
    Path(settings.top.site_key_file).parent.mkdir(parents=True, exist_ok=True)
    key = SiteKey.load_or_make(settings.top.site_key_file)
    if settings.cell.key_file:
        key.of_cell(settings.cell.name).save(settings.cell.key_file)
    etcd = Etcd(settings.top.store)
    try:
        store = Store(etcd, settings.top.prefix)
        for mapping in cells_of(settings, key):
            await _map(store, mapping)
        await bootstrap_identity(store, key, admin_password=password, demo_password=demo_password, region=region)
    finally:
        await etcd.close()


def cells_of(settings: Settings, key: SiteKey) -> tuple[CellMapping, CellMapping]:
    """cell0, beside the global store, and the configured cell."""
    cell, top = settings.cell, settings.top
    cell0 = CellMapping(CELL0, CELL0_UUID, _address(top.store, f"{top.prefix.rstrip('/')}-cell0/", key), None)
    bus = BusAddress(cell.bus.url)
    return cell0, CellMapping(cell.name, ambient.new_uuid(), _address(cell.store, cell.prefix, key), bus)


def _address(store: StoreSettings, prefix: str, key: SiteKey) -> StoreAddress:
    secret = None
    if store.user:
        secret = key.encrypt(orjson.dumps({"user": store.user, "password": store.password}))
    return StoreAddress(store.endpoints, prefix, secret)


async def _map(store: Store, mapping: CellMapping) -> None:
    stored = await store.get(Global.CELLS(mapping.name))
    if stored is None:
        await store.commit(Txn("map cell").create(Global.CELLS(mapping.name), mapping))
    elif (stored.value.store.endpoints, stored.value.store.prefix, stored.value.bus) != (
        mapping.store.endpoints,
        mapping.store.prefix,
        mapping.bus,
    ):
        changed = CellMapping(mapping.name, stored.value.uuid, mapping.store, mapping.bus, stored.value.disabled)
        await store.commit(Txn("map cell").replace(stored, changed))
