"""Images that many hosts are to have at once."""

from attrs import evolve
from top_rig import USER, open_rig

from control.servers.precache import cache_images
from kv.keys import Global
from kv.txn import MAX_OPERATIONS
from schemas.host import HostMapping


async def test_requests_for_many_hosts_and_images_are_written_in_transactions_that_etcd_takes() -> None:
    """A hundred operations a transaction, however many images each named, were more bytes than etcd takes."""
    async with open_rig() as rig:
        hosts = [HostMapping(f"h{n}", "cell1", f"rp{n}") for n in range(MAX_OPERATIONS + 20)]
        images = [f"{n:036d}" for n in range(1000)]
        await cache_images(rig.top, evolve(USER), hosts, images)
        assert await rig.top.store.count(Global.OPERATIONS.under()) == len(hosts)
