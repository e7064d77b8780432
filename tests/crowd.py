"""One scheduler of a crowd, as a process: `python tests/crowd.py SETTINGS SERVERS` asks itself for a host for each of
these servers, whose operations are in the store, and prints how many found one, were refused, and how long it took.

It says `ready` and waits for a line before it begins, so that all begin together.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from random import Random

import structlog
from substrate import eventually

from control.scheduler.feed import Feed
from control.scheduler.service import Scheduler
from control.top import open_top
from kv.keys import Global
from runtime.settings import load_settings
from schemas.messages import Select, SelectItem
from schemas.settings import Settings
from schemas.shards import shard_of

BATCH = 20
"""builds asked for together, as a super conductor does"""
AT_ONCE = 4
"""batches under way"""


async def run(settings: Settings, servers: list[str]) -> dict[str, float]:
    draw = Random()
    async with open_top(settings, "crowd", cell_buses=False) as top:
        feed = Feed(top, draw=draw)
        following = asyncio.create_task(feed.run())
        await feed.until_ready()
        await eventually(lambda: feed.usable_cells() == {"cell1"} and bool(feed.model.flags["alive"].all()), 30)
        scheduler = Scheduler(top, feed, draw=draw)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        count: dict[str, float] = {"claimed": 0, "refused": 0, "again": 0}
        door = asyncio.Semaphore(AT_ONCE)

        async def place(batch: list[str]) -> None:
            async with door:
                while batch:
                    keys = [Global.OPERATIONS(shard_of(s), s) for s in batch]
                    found = await top.store.read_all(keys)
                    specs = await top.store.read_all([Global.SPECS(s) for s in batch])
                    items = [
                        SelectItem(op.value, op.mod_revision, spec.value)
                        for op, spec in zip(found, specs, strict=True)
                        if op and spec
                    ]
                    answer = await scheduler.select(Select(tuple(items)), "")
                    for one in answer.decided:
                        count["claimed" if one.operation else "refused"] += 1
                        batch = [s for s in batch if s != one.server]
                    count["again"] += len(batch)

        start, cpu = time.monotonic(), time.process_time()
        batches = [servers[n : n + BATCH] for n in range(0, len(servers), BATCH)]
        await asyncio.gather(*(place(b) for b in batches))
        count["seconds"], count["cpu"] = time.monotonic() - start, time.process_time() - cpu
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return count


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    chosen = json.loads(Path(sys.argv[2]).read_text())
    print(json.dumps(asyncio.run(run(load_settings(Path(sys.argv[1])), chosen))), flush=True)
