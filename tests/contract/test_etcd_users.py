"""A store whose etcd has users: tokens that expire or are forgotten are replaced, what is forbidden is said."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from aetcd import rpc
from attrs import evolve
from substrate import EtcdServer, eventually, running

from kv.cache import Cache
from kv.client import Etcd
from kv.keys import Family
from kv.maintenance import Maintenance
from kv.store import Store
from kv.txn import Txn
from schemas.errors import StoreUnavailable
from schemas.settings import StoreSettings

NOTES = Family("notes/{name}", str)
TOKEN_SECONDS = 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    options = ("--auth-token-ttl", str(TOKEN_SECONDS), "--bcrypt-cost", "4")
    made = EtcdServer(tmp_path_factory.mktemp("etcd-users"), *options)
    with running(made):
        asyncio.run(add_users(made.endpoint))
        yield made


async def add_users(endpoint: str) -> None:
    """`root`, and `kn` who may use what is under `kn/`."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        auth = rpc.AuthStub(channel)
        await auth.RoleAdd(rpc.AuthRoleAddRequest(name="kn"))
        permission = rpc.Permission(permType=rpc.Permission.READWRITE, key=b"kn/", range_end=b"kn0")
        await auth.RoleGrantPermission(rpc.AuthRoleGrantPermissionRequest(name="kn", perm=permission))
        for user, role in (("root", "root"), ("kn", "kn")):
            await auth.UserAdd(rpc.AuthUserAddRequest(name=user, password="secret"))
            await auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user=user, role=role))
        await auth.AuthEnable(rpc.AuthEnableRequest())


@pytest.fixture
def settings(server: EtcdServer) -> StoreSettings:
    return StoreSettings((server.endpoint,), user="kn", password="secret", timeout=5.0)


@pytest.fixture
async def store(settings: StoreSettings) -> AsyncIterator[Store]:
    etcd = Etcd(settings)
    yield Store(etcd, "kn/")
    await etcd.close()


async def put(store: Store, text: str) -> int:
    return await store.commit(Txn("write").put(NOTES("a"), text))


async def test_an_expired_token_is_replaced_unnoticed(store: Store) -> None:
    """The call that met one failed."""
    await put(store, "1")
    used = store.etcd._token  # type: ignore[attr-defined]
    await asyncio.sleep(TOKEN_SECONDS * 3)
    await put(store, "2")
    assert store.etcd._token != used  # type: ignore[attr-defined]


async def test_a_watch_that_begins_on_an_old_stream_or_after_a_restart_is_told_all(
    store: Store, server: EtcdServer
) -> None:
    first, second = Cache(store, NOTES.under()), Cache(store, NOTES.under())
    tasks = [asyncio.create_task(first.run())]
    await eventually(lambda: first.connected, 30)
    await asyncio.sleep(TOKEN_SECONDS * 3)
    tasks.append(asyncio.create_task(second.run()))
    revision = await put(store, "late")
    async with asyncio.timeout(30):
        await asyncio.gather(first.wait_until(revision), second.wait_until(revision))
    server.kill()
    await asyncio.to_thread(server.start)
    await eventually(lambda: first.connected and second.connected, 30)
    revision = await put(store, "after")
    async with asyncio.timeout(30):
        await asyncio.gather(first.wait_until(revision), second.wait_until(revision))
    assert first.get(NOTES("a")) == second.get(NOTES("a")) == "after"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_wrong_password_and_a_foreign_prefix_are_refused(settings: StoreSettings) -> None:
    for user, prefix, said in (
        (evolve(settings, password="wrong"), "kn/", "authentication failed"),
        (settings, "other/", "permission denied"),
    ):
        etcd = Etcd(user)
        with pytest.raises(StoreUnavailable, match=said):
            await put(Store(etcd, prefix), "x")
        await etcd.close()


async def test_maintenance_is_roots(settings: StoreSettings) -> None:
    root = Maintenance(evolve(settings, user="root"))
    assert await root.alarms() == []
    await root.compact()
    await root.defragment(settings.endpoints[0])
    with pytest.raises(StoreUnavailable, match="permission denied"):
        await Maintenance(settings).defragment(settings.endpoints[0])
