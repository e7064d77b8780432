"""`kilonova explain`: why a server, or a flavor that nobody has asked for yet, finds the hosts that it finds. Reads the
stores alone, so that it works with every service stopped."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from attrs import frozen

from control.cells.registry import Cells
from control.scheduler.explain import explain
from control.scheduler.feed import Feed
from control.scheduler.pipeline import follows_servers, load_pipeline
from control.scheduler.request import request_for
from control.secrets import SiteKey
from control.servers.draft import image_ref
from kv.client import Etcd
from kv.keys import Global
from kv.store import Store
from schemas.errors import BadRequest, NotFound, StoreUnavailable
from schemas.messages import Explained
from schemas.server import RequestSpec
from schemas.settings import Settings

READY_SECONDS: Final = 10.0
CELL_SECONDS: Final = 2.0


@frozen
class Asked:
    """A server's uuid, or a flavor's id or name with what a create request would say besides."""

    server: str = ""
    flavor: str = ""
    image: str = ""
    zone: str = ""
    project: str = ""


@frozen(eq=False)
class _Stores:
    store: Store
    cells: Cells


def explain_placement(settings: Settings, asked: Asked) -> bool:
    """Prints it; whether a host was found. Raises NotFound, BadRequest."""
    told = asyncio.run(_explain(settings, asked))
    print("\n".join(lines(told)))
    return bool(told.fitting)


async def _explain(settings: Settings, asked: Asked) -> Explained:
    etcd = Etcd(settings.top.store)
    store = Store(etcd, settings.top.prefix)
    like, key = settings.top, SiteKey.load(settings.top.site_key_file)
    cells = Cells(store, key, "explain", with_bus=False, like_store=like.store, like_bus=like.bus)
    following = asyncio.create_task(cells.run())
    pipeline = load_pipeline(settings)
    try:
        await cells.mappings.synced.wait()
        spec = await _spec(store, asked)
        feed = Feed(_Stores(store, cells), with_servers=follows_servers(pipeline, settings))
        feeding = asyncio.create_task(feed.run())
        try:
            await asyncio.wait_for(feed.until_ready(), READY_SECONDS)
            with suppress(TimeoutError):  # a cell that does not answer is told of as such
                await asyncio.wait_for(feed.until_cells_ready(), CELL_SECONDS)
            group = feed.model.groups.get(spec.group) if spec.group else None
            request = request_for(spec, settings, feed.listed_cells(), group=group.value if group else None)
            return explain(feed.model, request, pipeline)
        except TimeoutError:
            raise StoreUnavailable(f"etcd at {etcd.target} does not answer") from None
        finally:
            await _ended(feeding)
    finally:
        await _ended(following)
        await cells.close()
        await etcd.close()


async def _ended(task: asyncio.Task[None]) -> None:
    """Before what it watches is closed."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _spec(store: Store, asked: Asked) -> RequestSpec:
    """Raises NotFound, BadRequest."""
    if asked.server:
        stored = await store.get(Global.SPECS(asked.server))
        if stored is None:
            raise NotFound(f"no server {asked.server} is known: name it by its id")
        return stored.value
    if not asked.flavor:
        raise BadRequest("name a server or --flavor")
    flavors = [s.value for s in await store.range(Global.FLAVORS.under())]
    flavor = next((f for f in flavors if asked.flavor in (f.id, f.name)), None)
    if flavor is None:
        raise NotFound(f"no flavor is called {asked.flavor}")
    image = (await store.get(Global.IMAGES(asked.image))) if asked.image else None
    if asked.image and image is None:
        raise NotFound(f"no image has the id {asked.image}")
    return RequestSpec(
        uuid="",
        project=asked.project,
        user="",
        flavor=flavor.copy_for_server(),
        image=image_ref(image.value) if image else None,
        availability_zone=asked.zone or None,
    )


def lines(told: Explained) -> Iterator[str]:
    amounts = ", ".join(f"{amount} {name}" for name, amount in told.asked.items()) or "nothing"
    yield f"asked for: {amounts}"
    room = f", {told.times} times in all" if told.fitting and told.times < 2**31 else ""
    yield f"{told.fitting} of {told.hosts} hosts can take it now{room}"
    if told.obstacles:
        yield "what removed hosts (and how many it would have spared alone):"
    for one in told.obstacles:
        note = f"; {one.note}" if one.note else ""
        yield f"  {one.removed:>6} ({one.alone})  {one.stage}: {one.reason}{note}"
    if told.best:
        yield "the best, with the parts of their weight:"
    for host in told.best:
        parts = " ".join(f"{name.removesuffix('Weigher')} {part:g}" for name, part in host.parts.items())
        yield f"  {host.host} in {host.cell}: {host.weight:g} = {parts or '0'}; {host.times} times"
