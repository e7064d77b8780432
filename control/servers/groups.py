"""Server groups in the global store: made, listed, removed, and joined by the transaction that accepts a server."""

from control.placement.groups import placed
from control.servers.commits import commit_settled, retried
from control.servers.quota import read_limits, used_more
from control.top import Top
from kv.keys import Global, Key
from kv.txn import Stored, Txn
from schemas.errors import NotFound, QuotaExceeded
from schemas.group import ServerGroup
from schemas.quota import QuotaUsage, Used
from schemas.server import time_key, to_us


def missing(uuid: str) -> NotFound:
    return NotFound(f"Instance group {uuid} could not be found.")


async def get_group(top: Top, uuid: str) -> ServerGroup:
    """Raises NotFound."""
    return (await _stored(top, uuid)).value


async def list_groups(top: Top, project: str | None) -> list[ServerGroup]:
    """Of one project or, with None, of all, in the order in which they were made."""
    if project is None:
        found = [s.value for s in await top.store.range(Global.GROUPS.under())]
        return sorted(found, key=lambda g: (g.created, g.uuid))
    paths = await top.store.paths(Global.PROJECT_GROUPS.under(project, ""))
    uuids = [path.rsplit("/", 1)[1].split("-", 1)[1] for path in paths]
    return [s.value for s in await top.store.read_all([Global.GROUPS(u) for u in uuids]) if s]


async def create_group(top: Top, group: ServerGroup) -> None:
    """Charges the quotas of the project and of the user, and compares their limits. Raises QuotaExceeded."""
    counter = Global.QUOTA_USAGE(group.project)

    async def once() -> None:
        records = await read_limits(top.store, group.project, group.user)
        limit, own_limit = (side["server_groups"] for side in (records.limits.project, records.limits.user))
        stored = await top.store.get(counter)
        usage = stored.value if stored else QuotaUsage()
        own = usage.users.get(group.user, Used())
        if 0 <= limit <= usage.server_groups or 0 <= own_limit <= own.server_groups:
            raise QuotaExceeded("Quota exceeded, too many server groups.")
        txn = Txn("create group").create(Global.GROUPS(group.uuid), group).put(_index(group), "")
        pivot = _charge(records.compared(txn), group, stored, 1)
        await commit_settled(top.store, txn, pivot, lambda: _exists(top, group.uuid))

    await retried(once)


async def delete_group(top: Top, uuid: str) -> None:
    """Its servers stay as they are. Raises NotFound."""

    async def gone() -> bool:
        return not await _exists(top, uuid)

    async def once() -> None:
        group = await _stored(top, uuid)
        stored = await top.store.get(Global.QUOTA_USAGE(group.value.project))
        txn = Txn("delete group").remove(group).delete(_index(group.value))
        if stored is not None:
            _charge(txn, group.value, stored, -1)
        await commit_settled(top.store, txn, stored or group, gone)

    await retried(once)


def joined(group: ServerGroup, servers: list[str], limit: int, asked: int = 0) -> ServerGroup:
    """With these servers as members without a host. Raises QuotaExceeded when they, or the `asked` of a whole request,
    are too many for a limit on members."""
    if 0 <= limit < len(group.members) + max(len(servers), asked):
        raise QuotaExceeded("Quota exceeded, too many servers in group")
    for server in servers:
        group = placed(group, server, ())
    return group


def _charge(txn: Txn, group: ServerGroup, stored: Stored[QuotaUsage] | None, sign: int) -> Stored[QuotaUsage]:
    """Returns what the transaction can be settled by."""
    usage = stored.value if stored else QuotaUsage()
    after = used_more(usage, group.user, {"server_groups": sign})
    if stored:
        txn.replace(stored, after)
        return stored
    key = Global.QUOTA_USAGE(group.project)
    txn.create(key, after)
    return Stored(key, usage, 0, 0)


async def _stored(top: Top, uuid: str) -> Stored[ServerGroup]:
    stored = await top.store.get(Global.GROUPS(uuid))
    if stored is None:
        raise missing(uuid)
    return stored


async def _exists(top: Top, uuid: str) -> bool:
    return await top.store.get(Global.GROUPS(uuid)) is not None


def _index(group: ServerGroup) -> Key[str]:
    return Global.PROJECT_GROUPS(group.project, time_key(to_us(group.created), group.uuid))
