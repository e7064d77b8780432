"""Host aggregates."""

from control.compute.call import Body, Call


async def index(_: Call) -> Body:
    """Always empty: nothing makes aggregates yet, but clients ask for them when they show a hypervisor."""
    return {"aggregates": []}
