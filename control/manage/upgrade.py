"""`kilonova status upgrade check`: which process runs which release, and whether the next upgrade may begin."""

import asyncio

from attrs import frozen

from control.cells.registry import CellAccess, Cells
from control.releases import TOP
from control.secrets import SiteKey
from control.top import Top
from kv.client import Etcd
from kv.keys import Cell, Global
from kv.store import Store
from schemas.codec import RELEASE
from schemas.errors import KilonovaError
from schemas.host import Service
from schemas.settings import Settings

CELL_SECONDS = 5.0


@frozen
class _Seen:
    """`scope` is `top` or a cell's name."""

    scope: str
    pod: str
    service: Service

    def __str__(self) -> str:
        one = self.service
        where = one.host if one.host == self.pod else f"{one.host} {self.pod}"
        return f"{self.scope:10} {one.binary:20} release {one.version}  {where}"


def check_upgrade(settings: Settings) -> int:
    """Prints every process. As nova-status: 0 all is well, 1 with a warning, 2 something stands in the way."""
    lines, code = asyncio.run(_check(settings))
    print("\n".join(lines))
    return code


async def _check(settings: Settings) -> tuple[list[str], int]:
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix)
    like = settings.top
    key = SiteKey.load(like.site_key_file)
    cells = Cells(store, key, "upgrade", with_bus=False, like_store=like.store, like_bus=like.bus)
    following = asyncio.create_task(cells.run())
    try:
        await asyncio.wait_for(cells.mappings.synced.wait(), CELL_SECONDS)
        return await _report(store, cells)
    except TimeoutError:
        return [f"etcd at {etcd.target} does not answer"], 2
    finally:
        following.cancel()
        await cells.close()
        await etcd.close()


async def report(top: Top) -> tuple[list[str], int]:
    """What the command prints, and its exit code."""
    return await _report(top.store, top.cells)


async def _report(store: Store, cells: Cells) -> tuple[list[str], int]:
    seen = [_Seen("top", _last(s.key.path), s.value) for s in await store.range(Global.SERVICES.under())]
    silent = []
    for cell in cells.all():
        found = await _in_cell(cell)
        if found is None:
            silent.append(cell.mapping.name)
        else:
            seen += found
    lines = [str(one) for one in seen]
    refused = [one for one in seen if not RELEASE - 1 <= one.service.version <= RELEASE]
    behind = [one for one in seen if one.service.version == RELEASE - 1]
    if refused:
        named = ", ".join(f"{one.service.binary} on {one.pod}" for one in refused)
        return [*lines, f"not within one release of this command's, {RELEASE}: {named}"], 2
    if silent:
        return [*lines, f"not known, since they do not answer: {', '.join(silent)}"], 2
    if behind:
        rest = f"all write as release {RELEASE - 1} until they are upgraded"
        return [*lines, f"{len(behind)} of {len(seen)} run release {RELEASE - 1}: {rest}"], 1
    return [*lines, f"all run release {RELEASE}"], 0


async def _in_cell(cell: CellAccess) -> list[_Seen] | None:
    try:
        async with asyncio.timeout(CELL_SECONDS):
            services = await cell.store.range(Cell.SERVICES.under())
    except (KilonovaError, TimeoutError):
        return None
    return [_Seen(cell.mapping.name, _last(s.key.path), s.value) for s in services if s.value.binary != TOP]


def _last(path: str) -> str:
    return path.rsplit("/", 1)[1]
