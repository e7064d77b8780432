"""Work in slices: the same results as at once, with turns for others in between."""

import asyncio

from runtime.slices import SLICE, kept, smallest


async def test_the_results_are_those_of_the_work_at_once() -> None:
    items = [(n * 7919) % 1009 for n in range(1000)]
    assert await kept(items, lambda n: n % 3 == 0) == [n for n in items if n % 3 == 0]
    assert await smallest(items, lambda n: -n, 10) == sorted(items, reverse=True)[:10]
    assert await smallest(items, lambda n: n, 5000) == sorted(items)
    assert await kept([], bool) == []
    assert await smallest([], int, 5) == []


async def test_others_have_their_turns() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        task = group.create_task(others())
        await smallest(await kept(range(20 * SLICE), lambda _: True), lambda n: n, 10)
        task.cancel()
    assert turns >= 30
