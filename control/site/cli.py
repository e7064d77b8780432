"""`kilonova site`: the commands behind `just up`, `down`, `status`, `demo` and `logs`."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from control.site.errors import PartFailed, SiteError
from control.site.options import Driver, Layout, Ports, Profile, SiteOptions
from control.site.site import Site
from control.site.words import how_to_go_on, status_table

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

DEFAULTS = Ports()

Directory = Annotated[Path, typer.Option("--dir", help="where the site keeps its files")]
DriverOption = Annotated[Driver, typer.Option(help="libvirt: real guests on this machine; simulated: none")]
Hosts = Annotated[int, typer.Option(min=1, help="simulated hosts")]
ApiPort = Annotated[int, typer.Option(help="where clients connect")]
EtcdPort = Annotated[int, typer.Option(help="etcd's clients")]
EtcdPeerPort = Annotated[int, typer.Option(help="etcd's peers")]
NatsPort = Annotated[int, typer.Option(help="nats-server")]
ObservePort = Annotated[int, typer.Option(help="first of five ports for metrics and health")]
Region = Annotated[str, typer.Option(help="name of the catalog's region")]


@app.command()
def up(
    directory: Directory = Path("run"),
    driver: DriverOption = "libvirt",
    hosts: Hosts = 1,
    api_port: ApiPort = DEFAULTS.api,
    etcd_port: EtcdPort = DEFAULTS.etcd,
    etcd_peer_port: EtcdPeerPort = DEFAULTS.etcd_peer,
    nats_port: NatsPort = DEFAULTS.nats,
    observe_port: ObservePort = DEFAULTS.observe,
    region: Region = "RegionOne",
) -> None:
    """Start the site, or what is missing of it, and leave it running."""
    if driver == "libvirt" and hosts != 1:
        raise SiteError("libvirt has this machine as its only host; --hosts goes with --driver simulated")
    ports = Ports(etcd_port, etcd_peer_port, nats_port, api_port, observe_port)
    site = _site(directory)
    was_whole = site.status().is_whole
    options = _bring_up(site, SiteOptions(driver, hosts, ports, region))
    typer.echo(how_to_go_on(site.layout, options, again=was_whole))


@app.command()
def down(directory: Directory = Path("run")) -> None:
    """Stop exactly what `up` started; data and guests stay."""
    _site(directory).down()
    typer.echo("the site is down")


@app.command()
def status(directory: Directory = Path("run")) -> None:
    """Show the site's processes; exit code 1 unless all of them run."""
    site = _site(directory)
    found = site.status()
    typer.echo(status_table(site.layout, found))
    raise typer.Exit(0 if found.is_whole else 1)


@app.command()
def demo(directory: Directory = Path("run")) -> None:
    """Boot, stop, start, reboot and delete a real server with the standard client."""
    from control.site.demo import run_demo

    site = _site(directory)
    options = _bring_up(site, site.status().options or SiteOptions())
    if options.driver != "libvirt":
        raise SiteError("the demo boots a real guest, but this site's hosts are simulated: just down && just demo")
    try:
        run_demo(site.layout, typer.echo)
    except KeyboardInterrupt:
        raise SiteError(
            "the demo was ended; its server is removed by the next `just demo`, `just down` stops the site"
        ) from None


@app.command()
def logs(
    role: Annotated[str, typer.Argument(help="such as api or agent")],
    directory: Directory = Path("run"),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="wait for more")] = False,
) -> None:
    """Print the end of a process's log."""
    log = _site(directory).processes.log_of(role)
    if not log.exists():
        known = sorted(path.stem for path in log.parent.glob("*.log"))
        raise SiteError(f"no log of {role} in {log.parent}; there are: {', '.join(known) or 'none'}")
    os.execvp("tail", ["tail", "-n", "200", *(["-F"] if follow else []), str(log)])


@app.command()
def placement(
    profile: Annotated[Profile, typer.Option(help="which of the conformance suite's configurations")] = "default",
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8778,
    etcd: Annotated[str, typer.Option(help="HOST:PORT of one that runs; empty: its own")] = "",
) -> None:
    """Run placement alone in the foreground, on fresh data, believing what requests say of themselves: for tools."""
    from control.site.placement import serve

    serve(profile, host, port, etcd)


def _bring_up(site: Site, asked: SiteOptions) -> SiteOptions:
    try:
        return site.up(asked)
    except PartFailed:
        typer.echo("What has started stays for a look: just status, just logs ROLE; just down stops it.", err=True)
        raise
    except subprocess.TimeoutExpired as error:
        words = error.cmd if isinstance(error.cmd, str) else " ".join(map(str, error.cmd))
        raise SiteError(
            f"`{words[:120]}` did not end within {error.timeout:g} s; just status, just logs ROLE"
        ) from error
    except OSError as error:
        raise SiteError(
            f"{error.filename or site.layout.root}: {error.strerror} ({_free_mib(site.layout.root)} MiB are free in "
            f"{site.layout.root.parent}). A site lies on a disk with 500 MiB to spare: just up --dir DIR"
        ) from error


def _free_mib(root: Path) -> int:
    return shutil.disk_usage(root.parent).free >> 20 if root.parent.exists() else 0


def _site(directory: Path) -> Site:
    return Site(Layout(directory.resolve()), typer.echo)
