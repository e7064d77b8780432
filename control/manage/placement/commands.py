"""The commands themselves: read, plan, execute, say. Each returns its exit code, which is nova-manage's."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import typer

from control.placement.reading import Reading
from control.placement.upkeep.audit import Orphan, give_back
from control.placement.upkeep.heal import Healing, NoNode, heal, healing_of
from control.placement.upkeep.known import Server
from control.placement.upkeep.mirrors import NO_MAPPING, Missing, Unmapped, missing_mirrors
from control.placement.upkeep.records import AT_ONCE, Records
from control.placement.writes.belonging import set_aggregates
from control.placement.writes.providers import find
from kv.keys import Global
from kv.txn import Txn
from runtime import ambient
from schemas.errors import CompareFailed, KilonovaError

DONE: Final = 0
BAD_INPUT: Final = 127
MAX_COUNT: Final = 1
NO_NODE: Final = 2
NOT_CREATED: Final = 3
NOTHING: Final = 4
ORPHANS_FOUND: Final = 3
ORPHANS_DELETED: Final = 4
MIRROR_FAILED: Final = 3


async def heal_allocations(
    records: Records,
    *,
    max_count: int | None,
    verbose: bool,
    dry_run: bool,
    instance: str | None,
    cell: str | None,
    force: bool,
) -> int:
    """0 healed, 1 max_count reached, 2 a host is no compute node, 3 an allocation could not be made, 4 nothing done."""
    providers = {host: mapping.uuid for host, mapping in (await records.mappings()).items()}
    healed = 0
    async for server in _suspects(records, instance, cell):
        plan = healing_of(server, providers, force=force)
        if plan is None:
            if verbose:
                typer.echo(f"Instance {server.uuid} needs nothing or cannot be judged now: {server.state}")
            continue
        if isinstance(plan, NoNode):
            typer.echo(f"Compute node of instance {server.uuid} not found", err=True)
            return NO_NODE
        said = f"allocations for instance {server.uuid}: {plan.resources}"
        if dry_run:
            typer.echo(f"[dry-run] Create {said}")
        else:
            try:
                await records.writer.write(partial(_heal, plan))
            except CompareFailed as error:
                typer.echo(f"Left alone: {error.message}")
                continue
            except KilonovaError as error:
                typer.echo(f"Failed to create {said}: {error.message}", err=True)
                return NOT_CREATED
            if verbose:
                typer.echo(f"Created {said}")
        healed += 1
        if max_count is not None and healed >= max_count:
            typer.echo(f"Max count reached. Processed {healed} instances.")
            return MAX_COUNT
    typer.echo(f"Processed {healed} instances.")
    return DONE if healed else NOTHING


async def _suspects(records: Records, instance: str | None, cell: str | None) -> AsyncIterator[Server]:
    """The one that was named, or those on hosts that hold nothing."""
    if instance is not None:
        for server in await records.servers([instance]):
            yield server
        return
    for name in [cell] if cell else sorted(records.cells.names()):
        hosted = await records.hosted(name)
        consumers = set(await records.consumers())
        lacking = [uuid for uuid in hosted if uuid not in consumers]
        for n in range(0, len(lacking), AT_ONCE):
            for server in await records.servers(lacking[n : n + AT_ONCE]):
                yield server


def _heal(plan: Healing, reading: Reading) -> tuple[Txn, None]:
    return heal(reading, plan, ambient.now()), None


async def audit(records: Records, *, verbose: bool, provider: str | None, delete: bool) -> int:
    """0 no orphans, 3 found, 4 deleted, 127 no such provider."""
    if provider is not None and not await records.providers([provider]):
        typer.echo(f"Resource provider with UUID {provider} does not exist.", err=True)
        return BAD_INPUT
    consumers = await records.consumers()
    orphans: list[Orphan] = []
    for n in range(0, len(consumers), AT_ONCE):
        part = await records.orphans(consumers[n : n + AT_ONCE], provider)
        if part:  # what is wrong twice in a row is wrong
            again = {o.server.uuid: o for o in await records.orphans([o.server.uuid for o in part], provider)}
            orphans += [o for o in part if _same(o, again.get(o.server.uuid))]
    left = 0
    for orphan in orphans:
        what = f"Allocations for consumer UUID {orphan.server.uuid} on Resource Provider {', '.join(orphan.providers)}"
        if not delete:
            typer.echo(f"{what} can be deleted: {orphan.why}")
            continue
        try:
            await records.writer.write(partial(_give_back, orphan))
        except CompareFailed as error:
            left += 1
            typer.echo(f"{what} left alone: {error.message}")
            continue
        if verbose:
            typer.echo(f"{what} were deleted: {orphan.why}")
    typer.echo(f"Processed {len(consumers)} allocations, {len(orphans) - left} of them orphaned.")
    if len(orphans) == left:
        return DONE
    return ORPHANS_DELETED if delete else ORPHANS_FOUND


def _same(first: Orphan, second: Orphan | None) -> bool:
    if second is None or first.server.allocation is None or second.server.allocation is None:
        return False
    revisions = first.server.allocation.mod_revision, second.server.allocation.mod_revision
    return first.providers == second.providers and revisions[0] == revisions[1]


def _give_back(orphan: Orphan, reading: Reading) -> tuple[Txn, None]:
    return give_back(reading, orphan, ambient.now()), None


async def sync_aggregates(records: Records, *, verbose: bool) -> int:
    """0 all are mirrored, 3 one could not be, 4 a host is not mapped, 6 a host has no provider."""
    aggregates = [stored.value for stored in await records.store.range(Global.AGGREGATES.under())]
    mappings = await records.mappings()
    providers = await records.providers(mapping.uuid for mapping in mappings.values())
    code = DONE
    for found in missing_mirrors(aggregates, mappings, providers):
        if isinstance(found, Unmapped):
            missing = "host mapping" if found.code == NO_MAPPING else "resource provider"
            typer.echo(f"Host {found.host} is in an aggregate but has no {missing}", err=True)
            code = code or found.code
            continue

        try:
            await records.writer.write(partial(_add_mirrors, found))
        except KilonovaError as error:
            typer.echo(f"Provider {found.provider} of host {found.host} not changed: {error.message}", err=True)
            code = code or MIRROR_FAILED
            continue
        if verbose:
            typer.echo(f"Added host {found.host} to aggregates {', '.join(sorted(found.aggregates))}")
    return code


def _add_mirrors(missing: Missing, reading: Reading) -> tuple[Txn, int]:
    there = find(reading, missing.provider)
    aggregates = there.provider.value.aggregates | missing.aggregates
    return set_aggregates(reading, missing.provider, there.generation, sorted(aggregates), ambient.now())
