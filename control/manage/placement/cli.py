"""`kilonova placement`: serves the API alone, or with a command's name mends what servers and placement differ in."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from control.manage.placement import commands
from control.placement.upkeep.records import Records, open_records
from runtime.process import run_process
from runtime.settings import load_settings
from schemas.errors import KilonovaError
from schemas.settings import Settings

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; KILONOVA_<SECTION>_<FIELD> override it.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="tell of each")]


@app.callback()
def placement(context: typer.Context, config: Config = None) -> None:
    """Serve the Placement API alone; `kilonova api` serves it beside the others. With a command: mend what differs."""
    if context.invoked_subcommand is not None:
        return
    from control.roles import placement_role

    settings = load_settings(config)
    run_process("placement", settings.process, placement_role(settings))


@app.command("heal_allocations", hidden=True)  # as nova-manage spells it
@app.command("heal-allocations")
def heal_allocations(
    config: Config = None,
    max_count: Annotated[int | None, typer.Option(help="stop after so many servers, with exit code 1")] = None,
    verbose: Verbose = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, do nothing")] = False,
    instance: Annotated[str | None, typer.Option(help="only this server")] = None,
    skip_port_allocations: Annotated[
        bool, typer.Option("--skip-port-allocations", help="accepted for nova-manage's sake: ports hold nothing here")
    ] = False,
    cell: Annotated[str | None, typer.Option(help="only this cell")] = None,
    force: Annotated[bool, typer.Option("--force", help="also what --instance holds already, computed anew")] = False,
) -> None:
    """Give servers on hosts the allocations that they lack.

    Exit codes: 0 done, 1 --max-count reached, 2 a host is no compute node, 3 an allocation could not be made, 4 nothing
    to do, 127 bad input, 255 error.
    """
    wrong = _wrong_healing(max_count, instance, cell, force)
    if wrong:
        typer.echo(wrong, err=True)
        sys.exit(commands.BAD_INPUT)
    settings = load_settings(config)

    async def run(records: Records) -> int:
        if cell is not None and cell not in records.cells.names():
            typer.echo(f"Cell with name {cell} was not found.", err=True)
            return commands.BAD_INPUT
        return await commands.heal_allocations(
            records, max_count=max_count, verbose=verbose, dry_run=dry_run, instance=instance, cell=cell, force=force
        )

    sys.exit(_run(settings, run, failed=255))


@app.command()
def audit(
    config: Config = None,
    verbose: Verbose = False,
    resource_provider: Annotated[str | None, typer.Option("--resource_provider", "--resource-provider")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="give them back")] = False,
) -> None:
    """Find allocations of servers that do not exist or are elsewhere.

    Exit codes: 0 none, 1 error, 3 some were found, 4 they were deleted, 127 bad input.
    """
    settings = load_settings(config)
    if resource_provider is not None and not _is_uuid(resource_provider):
        typer.echo(f"Resource provider UUID {resource_provider} is not a UUID.", err=True)
        sys.exit(commands.BAD_INPUT)
    sys.exit(_run(settings, lambda r: commands.audit(r, verbose=verbose, provider=resource_provider, delete=delete)))


@app.command("sync_aggregates", hidden=True)
@app.command("sync-aggregates")
def sync_aggregates(config: Config = None, verbose: Verbose = False) -> None:
    """Put the hosts' providers into the placement aggregates that mirror their host aggregates.

    Exit codes: 0 done, 3 a provider could not be changed, 4 a host is not mapped, 6 a host has no provider, 255 error.
    """
    settings = load_settings(config)
    sys.exit(_run(settings, lambda records: commands.sync_aggregates(records, verbose=verbose), failed=255))


def _run(settings: Settings, command: Callable[[Records], Awaitable[int]], failed: int = 1) -> int:
    async def run() -> int:
        async with open_records(settings) as records:
            return await command(records)

    try:
        return asyncio.run(run())
    except KilonovaError as error:
        typer.echo(f"kilonova: {error.message}", err=True)
        return failed


def _wrong_healing(max_count: int | None, instance: str | None, cell: str | None, force: bool) -> str | None:
    if max_count is not None and max_count < 1:
        return "Must supply a positive integer for --max-count."
    if instance is not None and cell is not None:
        return "The --cell and --instance options are mutually exclusive."
    if instance is not None and not _is_uuid(instance):
        return f"Instance UUID {instance} is not a UUID."
    if force and instance is None:
        return "The --instance flag is required when using --force flag."
    return None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
