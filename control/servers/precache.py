"""A request that hosts have images before a server needs them: an operation a host, and its owner sees to it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from control.top import Top
from kv.keys import Global
from kv.txn import Txn
from runtime import ambient
from schemas.context import REQUEST_ID
from schemas.host import HostMapping
from schemas.identity import Identity
from schemas.messages import Wake
from schemas.operation import Line, Operation
from schemas.shards import shard_of
from schemas.subjects import top_wake

KIND: Final = "cache-images"
PATIENCE: Final = timedelta(hours=1)
"""A host that cannot be reached for so long goes without."""


async def cache_images(top: Top, identity: Identity, hosts: Sequence[HostMapping], images: Sequence[str]) -> None:
    now = ambient.now()
    wanted = [
        Operation(
            server=ambient.new_uuid(),
            kind=KIND,
            step="fetch",
            started=now,
            deadline=now + PATIENCE,
            request_id=REQUEST_ID.get(),
            user=identity.user,
            project=identity.project,
            host=host.host,
            inputs={"cell": host.cell, "images": list(images)},
            story=(Line(now, f"{len(images)} images wanted on {host.host}"),),
        )
        for host in hosts
    ]
    txn = Txn("cache images")
    for operation in wanted:
        one = Txn("").create(Global.OPERATIONS(shard_of(operation.server), operation.server), operation)
        more = Txn(txn.purpose).include(txn).include(one)
        if txn.writes and not more.fits:
            await top.store.commit(txn)
            more = Txn(txn.purpose).include(one)
        txn = more
    if txn.writes:
        await top.store.commit(txn)
    for operation in wanted:
        await top.bus.hint(top_wake(shard_of(operation.server)), Wake(operation.server))
