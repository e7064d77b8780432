"""`kilonova`: runs a process of the site or speaks to it. Rooms are imported only when their command runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from runtime.process import run_process
from runtime.settings import load_settings
from schemas.errors import KilonovaError

app = typer.Typer(
    help="A compute control plane on etcd and NATS with Nova's and Placement's APIs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

status = typer.Typer(help="Look at a site from its records; works with every service stopped.", no_args_is_help=True)
upgrade = typer.Typer(help="What an upgrade has to know.", no_args_is_help=True)
status.add_typer(upgrade, name="upgrade")
app.add_typer(status, name="status")
configuration = typer.Typer(help="What is configured.", no_args_is_help=True)
app.add_typer(configuration, name="config")
keys = typer.Typer(help="The keys that sign tokens; works with every service stopped.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; KILONOVA_<SECTION>_<FIELD> override it.")]


@app.command()
def api(config: Config = None) -> None:
    """Serve compute, placement, identity and image APIs over HTTP."""
    from control.roles import api_role

    settings = load_settings(config)
    run_process("api", settings.process, api_role(settings))


@app.command()
def scheduler(config: Config = None) -> None:
    """Choose and claim hosts for servers."""
    from control.roles import scheduler_role

    settings = load_settings(config)
    run_process("scheduler", settings.process, scheduler_role(settings))


@app.command("super-conductor")
def super_conductor(config: Config = None) -> None:
    """Carry out what needs a claim, a charge or more than one cell."""
    from control.roles import super_conductor_role

    settings = load_settings(config)
    run_process("super-conductor", settings.process, super_conductor_role(settings))


@app.command()
def conductor(config: Config = None) -> None:
    """Carry out the work of one cell."""
    from control.roles import conductor_role

    settings = load_settings(config)
    run_process("conductor", settings.process, conductor_role(settings))


@app.command("all")
def everything(config: Config = None) -> None:
    """Run a small site's control plane in one process."""
    from control.roles import all_roles

    settings = load_settings(config)
    run_process("all", settings.process, all_roles(settings))


@app.command()
def agent(config: Config = None) -> None:
    """Drive this machine's hypervisor."""
    from agents.role import agent_role

    settings = load_settings(config)
    run_process("agent", settings.process, agent_role(settings))


@app.command()
def bootstrap(
    config: Config = None,
    password: Annotated[str, typer.Option(help="of the user admin", envvar="KILONOVA_ADMIN_PASSWORD")] = "",
    demo_password: Annotated[
        str, typer.Option(help="of the user demo; empty: no such user", envvar="KILONOVA_DEMO_PASSWORD")
    ] = "",
    region: Annotated[str, typer.Option(help="the catalog's region")] = "",
) -> None:
    """Seed the site key, cell0, the configured cell, roles, projects and users; again is fine."""
    from control.manage.bootstrap import bootstrap_site

    bootstrap_site(load_settings(config), password, demo_password or None, region)


@app.command()
def explain(
    server: Annotated[str, typer.Argument(help="a server's id; none: what the options say")] = "",
    config: Config = None,
    flavor: Annotated[str, typer.Option(help="a flavor's id or name")] = "",
    image: Annotated[str, typer.Option(help="an image's id")] = "",
    zone: Annotated[str, typer.Option(help="an availability zone")] = "",
    project: Annotated[str, typer.Option(help="a project's id")] = "",
) -> None:
    """Tell which hosts could take a server now and what rules out the others; exit code 1 when there is none."""
    from control.manage.explain import Asked, explain_placement

    if not explain_placement(load_settings(config), Asked(server, flavor, image, zone, project)):
        sys.exit(1)


@app.command()
def hosts(config: Config = None) -> None:
    """Show every host: cell, zone, state, and what is claimed on it."""
    from control.manage.hosts import print_hosts

    print_hosts(load_settings(config))


@configuration.command("show")
def config_show(config: Config = None) -> None:
    """Print all settings as they are in effect, defaults included; passwords are left out."""
    from control.manage.config import show_config

    typer.echo(show_config(load_settings(config)))


@app.command()
def story(server: str, config: Config = None) -> None:
    """Tell what happened to a server, from its records alone."""
    from control.manage.story import tell_story

    tell_story(load_settings(config), server)


@keys.command("list")
def keys_list(config: Config = None) -> None:
    """Show the keys that sign tokens and image grants, the newest first."""
    from control.manage.keys import list_keys

    list_keys(load_settings(config))


@keys.command("rotate")
def keys_rotate(config: Config = None) -> None:
    """Add a key that signs from half a minute on; remove those that no valid token needs. No token ends by it."""
    from control.manage.keys import rotate_keys

    rotate_keys(load_settings(config))


@keys.command("remove")
def keys_remove(key: str, config: Config = None) -> None:
    """Remove a key that others may know: every token that it signed ends at once."""
    from control.manage.keys import remove_key

    remove_key(load_settings(config), key)


@app.command("nats-key")
def nats_key(seed_file: Annotated[Path, typer.Argument(help="where bus.nkey_seed_file will point")]) -> None:
    """Make an NKey for a user of NATS, unless the file is there, and print its public half."""
    from bus.users import make_seed

    typer.echo(make_seed(seed_file))


@app.command("nats-permissions")
def nats_permissions(
    host: Annotated[str, typer.Argument(help="agent.host, or the machine's host name")],
    nkey: Annotated[str, typer.Option(help="the public key of the agent's NKey; see nats-key")],
    cell: Annotated[str, typer.Option(help="agent.cell")] = "cell1",
) -> None:
    """Print the user of a host's agent for nats-server's configuration: all that the agent may say and hear."""
    from bus.users import user_block
    from schemas.subjects import agent_permissions

    typer.echo(user_block(nkey, agent_permissions(cell, host)))


@upgrade.command("check")
def upgrade_check(config: Config = None) -> None:
    """Show which process runs which release. Exits with 0 when all run this one, 1 while some are one behind, and 2
    when something stands in the way of an upgrade."""
    from control.manage.upgrade import check_upgrade

    sys.exit(check_upgrade(load_settings(config)))


def _mount_site() -> None:
    from control.site.cli import app as site_app

    app.add_typer(site_app, name="site", help="Run a whole small site on this machine.")


def _mount_etcd() -> None:
    from control.manage.etcd import app as etcd_app

    app.add_typer(etcd_app, name="etcd", help="Look after the etcd of the global store or of a cell.")


def _mount_placement() -> None:
    from control.manage.placement.cli import app as placement_app

    app.add_typer(placement_app, name="placement")


_FOLDERS = {"site": _mount_site, "etcd": _mount_etcd, "placement": _mount_placement}


def main() -> None:
    """Entry point of the `kilonova` command: errors of ours are one line on stderr and exit code 1."""
    for name, mount in _FOLDERS.items():
        if sys.argv[1:2] == [name] or set(sys.argv[1:]) <= {"--help"}:
            mount()
    try:
        app()
    except KilonovaError as error:
        print(f"kilonova: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
