"""`kilonova etcd`: what an operator does to the etcd of the global store or of a cell."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from control.cells.stores import open_stores
from control.manage.restored import GLOBAL, Done, reconcile_restored
from kv.maintenance import Maintenance, MemberStatus
from runtime.settings import load_settings
from schemas.errors import StoreUnavailable
from schemas.settings import Settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; KILONOVA_<SECTION>_<FIELD> override it.")]
OfCell = Annotated[bool, typer.Option("--cell", help="the etcd of [cell.store] instead of [top.store]")]


@app.command()
def status(config: Config = None, cell: OfCell = False) -> None:
    """Show each member: version, leader, size and what of it is in use; exit code 1 unless all answer."""
    members = asyncio.run(_maintenance(config, cell).members())
    for member in members:
        typer.echo(_line(member))
    raise typer.Exit(any(m.fault for m in members))


@app.command()
def defrag(
    config: Config = None,
    cell: OfCell = False,
    compact: Annotated[bool, typer.Option("--compact", help="forget all history first: frees the most")] = False,
) -> None:
    """Give unused space back, one member after the other, the leader last; each answers nobody meanwhile."""
    asyncio.run(_defrag(_maintenance(config, cell), compact))


@app.command()
def alarms(
    config: Config = None,
    cell: OfCell = False,
    clear: Annotated[bool, typer.Option("--clear", help="clear them, once their cause is gone")] = False,
) -> None:
    """List raised alarms: under NOSPACE etcd refuses every write."""
    asyncio.run(_alarms(_maintenance(config, cell), clear))


@app.command()
def restored(
    config: Config = None,
    stores: Annotated[
        list[str] | None, typer.Option("--store", help="the restored store: 'global' or a cell's name; repeat for more")
    ] = None,
) -> None:
    """Make the site ready to serve after an etcd was restored from a backup; with every service stopped.

    Agents accept commands of the restored records again, and the global store and the cells agree. Restore with
    'etcdutl snapshot restore --bump-revision 1000000000 --mark-compacted', so that no revision is used twice.
    """
    if not stores:
        raise typer.BadParameter("name each restored store by --store: global, or a cell's name")
    for what, count in sorted(asyncio.run(_restored(load_settings(config), stores)).items()):
        typer.echo(f"{count} {what}")


async def _restored(settings: Settings, stores: list[str]) -> Done:
    async with open_stores(settings, "restored") as top:
        known = {GLOBAL, *(cell.mapping.name for cell in top.cells.all())}
        if unknown := set(stores) - known:
            raise typer.BadParameter(
                f"no such store: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        return await reconcile_restored(top, stores)


def _maintenance(config: Path | None, cell: bool) -> Maintenance:
    settings = load_settings(config)
    return Maintenance(settings.cell.store if cell else settings.top.store)


async def _defrag(maintenance: Maintenance, compact: bool) -> None:
    before = {m.endpoint: m for m in await maintenance.members()}
    if compact:
        typer.echo(f"forgot all history before revision {await maintenance.compact()}")
    for member in sorted(before.values(), key=lambda m: m.leads):
        if member.fault:
            typer.echo(_line(member))
            continue
        await maintenance.defragment(member.endpoint)
        after = next(m for m in await maintenance.members() if m.endpoint == member.endpoint)
        typer.echo(f"{member.endpoint}: {_mib(member.size)} before, {_mib(after.size)} now")
    if faults := [m.endpoint for m in before.values() if m.fault]:
        raise StoreUnavailable(f"not defragmented: {', '.join(faults)}")


async def _alarms(maintenance: Maintenance, clear: bool) -> None:
    raised = await maintenance.alarms()
    names = {m.id: m.endpoint for m in await maintenance.members() if m.id}
    for alarm in raised:
        if clear:
            await maintenance.clear(alarm)
        where = names.get(alarm.member, f"member {alarm.member:x}")
        typer.echo(f"{alarm.kind} of {where}{', cleared' if clear else ''}")
    if not raised:
        typer.echo("no alarms")


def _line(member: MemberStatus) -> str:
    if member.fault:
        return f"{member.endpoint}: {member.fault}"
    role = "leader" if member.leads else "follower"
    return f"{member.endpoint}: etcd {member.version}, {role}, {_mib(member.size)}, {_mib(member.in_use)} in use"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
