"""An etcd that has no space left: the API says so and what to type, the operator types it, and all goes on."""

import asyncio
from pathlib import Path

import httpx
import pytest
from substrate import EtcdServer, map_site, running
from typer.testing import CliRunner

from control.api.frame import Frame
from control.compute.app import ComputeApp
from control.manage.etcd import app as operator
from control.top import open_top
from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.errors import StoreFull, Unauthorized
from schemas.identity import Identity
from schemas.settings import BusSettings, StoreSettings

QUOTA_BYTES = 4 << 20
FLAVOR = {"flavor": {"name": "tiny", "id": "1", "ram": 512, "vcpus": 1, "disk": 1}}


class Admin:
    async def verify(self, token: str) -> Identity:
        if token != "admin":
            raise Unauthorized("The request you have made requires authentication.")
        return Identity("user-admin", "admin", "project-admin", "admin", frozenset({"admin"}))


async def fill(store: Store) -> None:
    """etcd learns its own size with a delay."""
    while True:
        await store.commit(Txn("fill").put(Global.MEMBERS("filler"), "x" * 200_000))


async def test_it_is_told_and_mended(bus_settings: BusSettings, tmp_path: Path) -> None:
    server = EtcdServer(tmp_path / "etcd", "--quota-backend-bytes", str(QUOTA_BYTES))
    with running(server):
        store = StoreSettings((server.endpoint,), "full/")
        config = tmp_path / "control.toml"
        config.write_text(f'[top.store]\nendpoints = ["{server.endpoint}"]\n')
        settings = await map_site(store, bus_settings, tmp_path)
        async with open_top(settings, "test", cell_buses=False) as top:
            app = Frame(ComputeApp(top, Admin()), deadline=30)
            transport = httpx.ASGITransport(app=app)
            headers = {"X-Auth-Token": "admin"}
            async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as client:
                with pytest.raises(StoreFull):
                    await fill(top.store)
                answer = await client.post("/v2.1/flavors", json=FLAVOR)
                assert answer.status_code == 503
                message = answer.json()["serviceUnavailable"]["message"]
                assert "is full" in message
                assert "kilonova etcd defrag --compact" in message
                assert (await client.get("/v2.1/flavors")).status_code == 200, "what only reads goes on"

                def typed(*words: str) -> str:
                    done = CliRunner().invoke(operator, [*words, "--config", str(config)])
                    assert done.exit_code == 0, done.output
                    return done.output

                assert "NOSPACE of " + server.endpoint in await asyncio.to_thread(typed, "alarms")
                assert "3.5" in await asyncio.to_thread(typed, "status")
                assert "MiB before" in await asyncio.to_thread(typed, "defrag", "--compact")
                assert "cleared" in await asyncio.to_thread(typed, "alarms", "--clear")
                assert "no alarms" in await asyncio.to_thread(typed, "alarms")
                assert (await client.post("/v2.1/flavors", json=FLAVOR)).status_code == 200
