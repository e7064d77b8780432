"""A whole site with TLS to etcd and NATS, whose agents may do on NATS what `kilonova nats-permissions` prints and no
more: that has to be enough for all they do."""

from pathlib import Path

from attrs import evolve
from certificates import Authority, nats_user
from etcd_cluster import running_cluster
from structlog.testing import capture_logs
from substrate import NatsServer, map_site, running
from thread_site import Host, running_site

from bus.users import user_block
from schemas.settings import BusSettings, Settings
from schemas.subjects import agent_permissions


async def test_a_server_lives_and_dies_there(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "nats-ca")
    names = ("node-1.example", "node-2.example")
    control, agents = nats_user(tmp_path, "control"), {name: nats_user(tmp_path, name) for name in names}
    users = [f"{{ nkey: {control.public} }}"]
    users += [user_block(user.public, agent_permissions("cell1", name)) for name, user in agents.items()]
    server, client = authority.issue("server"), authority.issue("client")
    tls = f'tls {{ cert_file: "{server.cert}", key_file: "{server.key}", ca_file: "{server.ca}", verify: true }}'
    nats = NatsServer(tmp_path / "nats", more=f"{tls}\naccounts {{ KN: {{ users: [{', '.join(users)}] }} }}")
    bus = BusSettings(nats.url, control.seed_file, client)
    with running_cluster(tmp_path / "etcd", size=1) as etcd, running(nats):
        settings = await map_site(evolve(etcd.settings(5.0), prefix="secured/"), bus, tmp_path)
        hosts = [Host(name, bus=evolve(bus, nkey_seed_file=user.seed_file)) for name, user in agents.items()]
        with capture_logs() as logs:
            await live(settings, *hosts)
        assert [line for line in logs if "forbidden" in line["event"]] == []


async def live(settings: Settings, *hosts: Host) -> None:
    async with running_site(settings, *hosts) as site:
        uuids = [await site.create() for _ in range(4)]
        for uuid in uuids:
            await site.at_rest(uuid, "active")
        await site.change(uuids[0], "reboot", type="HARD")
        await site.at_rest(uuids[0], "active")
        for uuid in uuids:
            await site.delete(uuid)
        for uuid in uuids:
            await site.gone(uuid)
        await site.books_are_empty()
