"""Reads a whole small site: every record of its stores and every guest of its simulated hosts."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from kv.client import Etcd
from kv.keys import Cell, Global, Span
from kv.store import Store
from schemas.codec import from_dict
from schemas.guest import GuestState
from schemas.settings import StoreSettings
from tests.chaos.invariants import CellView, Records, SiteView


async def read_site(etcd: Etcd, global_prefix: str, hosts: Path) -> SiteView:
    top = Store(etcd, global_prefix)
    mappings = await top.range(Global.CELLS.under())
    cells = {m.value.name: Store(etcd, m.value.store.prefix) for m in mappings}
    tops = await asyncio.gather(
        *(
            _records(top, span)
            for span in (
                Global.INSTANCES.under(),
                Global.PROJECT_SERVERS.under(),
                Global.ALL_SERVERS.under(),
                Global.REQUESTS.under(),
                Global.SPECS.under(),
                Global.OPERATIONS.under(),
                Global.ALLOCATIONS.under(),
                Global.PROVIDERS.under(),
                Global.USAGES.under(),
                Global.QUOTA_USAGE.under(),
            )
        )
    )
    views = {name: await _cell(store) for name, store in cells.items()}
    return SiteView(*tops, cells=views, guests=guests_of(hosts))


async def _cell(store: Store) -> CellView:
    spans = (Cell.INSTANCES, Cell.OPERATIONS, Cell.OUTBOX, Cell.BY_HOST, Cell.USER_DATA)
    return CellView(*await asyncio.gather(*(_records(store, family.under()) for family in spans)))


async def _records(store: Store, span: Span[Any]) -> Records:
    return {stored.key.path: stored.value for stored in await store.range(span)}


def guests_of(hosts: Path) -> dict[str, tuple[GuestState, ...]]:
    """By host, out of the state files of simulated hypervisors."""
    found = {}
    for path in sorted(hosts.glob("*.json")):
        saved = orjson.loads(path.read_bytes())
        found[path.stem] = tuple(from_dict(GuestState, guest["state"]) for guest in saved["guests"])
    return found


def etcd_at(port: int) -> Etcd:
    return Etcd(StoreSettings(endpoints=(f"127.0.0.1:{port}",), timeout=5.0))
