"""`kilonova hosts`: every host with its cell, zone, state and what is claimed on it, from the records alone."""

import asyncio
from collections.abc import Sequence
from typing import Final

from control.cells.hosts import HostView, list_hosts
from control.cells.stores import open_stores
from schemas.settings import Settings

HEADER: Final = ("host", "cell", "zone", "state", "servers", "vcpus", "memory MiB", "disk GiB", "reason")


def print_hosts(settings: Settings) -> None:
    for line in table([HEADER, *map(row, asyncio.run(_hosts(settings)))]):
        print(line)


async def _hosts(settings: Settings) -> list[HostView]:
    async with open_stores(settings, "hosts") as stores:
        return await list_hosts(stores, counted=True)


def row(host: HostView) -> tuple[str, ...]:
    """As text, in the order of the header. Sizes are `claimed/there`, before allocation ratios."""
    facts, used = (host.host.facts if host.host else None), host.usages
    return (
        host.mapping.host,
        host.mapping.cell,
        host.zone,
        state(host),
        "?" if host.cell_down else str(host.instances),
        f"{used.get('VCPU', 0)}/{facts.vcpus if facts else '?'}",
        f"{used.get('MEMORY_MB', 0)}/{facts.memory_mb if facts else '?'}",
        f"{used.get('DISK_GB', 0)}/{facts.local_gb if facts else '?'}",
        host.reason or "",
    )


def state(host: HostView) -> str:
    """What a server that is to be placed cares about, the strongest first."""
    if host.mapping.forced_down:
        return "forced down"
    if host.cell_down:
        return "cell down"
    liveness = "up" if host.alive else "down"
    return f"{liveness}, disabled" if host.disabled else liveness


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they have to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
