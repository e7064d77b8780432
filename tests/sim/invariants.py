"""What must hold when a site has come to rest: design's I1 to I4 and I6, and nothing left over."""

from collections import Counter

from control.placement.resources import needed_by
from kv.keys import Cell, Global
from schemas.placement import Allocation
from schemas.server import CELL0, Instance, InstanceMapping
from schemas.topology import TopologyClaim
from tests.sim.promises import Promises
from tests.sim.site import GLOBAL, Site
from tests.topologies import given, given_twice

AT_REST = ("active", "stopped", "paused", "suspended", "error")

Servers = dict[str, tuple[str, Instance]]
"""by uuid, with the store that has them"""


async def pending(site: Site) -> list[str]:
    """Keys that say that something is still to be done."""
    top = site.store(GLOBAL)
    found = [*await top.paths(Global.OPERATIONS.under()), *await top.paths(Global.REQUESTS.under())]
    for name in (CELL0, *site.cells):
        cell = site.store(name)
        found += await cell.paths(Cell.OPERATIONS.under())
        found += await cell.paths(Cell.OUTBOX.under())
    return [path for path in found if path not in site.unreadable]


async def violations(site: Site, promised: Promises) -> list[str]:
    """Empty when all is well."""
    top = site.store(GLOBAL)
    mappings = {s.value.uuid: s.value for s in await top.range(Global.INSTANCES.under())}
    instances, found = await instances_of(site)
    found += [*site.deaths, *(f"left to do: {path}" for path in await pending(site))]
    found += _promises(mappings, promised)
    found += _records(mappings, instances)
    found += await _claims(site, instances)
    found += await _groups(site, mappings, instances)
    found += await _charges(site, mappings)
    found += _guests(site, instances, promised)
    found += await _lines(site, mappings, instances)
    return found


async def instances_of(site: Site) -> tuple[Servers, list[str]]:
    """All servers, and which of them are in two cells."""
    found: Servers = {}
    twice = []
    for name in (CELL0, *site.cells):
        for stored in await site.store(name).range(Cell.INSTANCES.under()):
            if stored.value.uuid in found:
                twice.append(f"{stored.value.uuid} is in {found[stored.value.uuid][0]} and {name}")
            found[stored.value.uuid] = (name, stored.value)
    return found, twice


def _promises(mappings: dict[str, InstanceMapping], promised: Promises) -> list[str]:
    lost = [u for u in promised.all() if u not in promised.doubtful and u not in mappings]
    kept = [u for u in promised.all() if u in promised.deleted and u not in promised.reset and u in mappings]
    return [f"{u} was accepted and is gone" for u in lost] + [f"{u} was deleted and is there" for u in kept]


def _records(mappings: dict[str, InstanceMapping], instances: Servers) -> list[str]:
    found = [f"{u} has a mapping and no record" for u in mappings if u not in instances]
    found += [f"{u} has a record and no mapping" for u in instances if u not in mappings]
    for uuid, (cell, server) in instances.items():
        if uuid in mappings and mappings[uuid].cell != cell:
            found.append(f"{uuid} is in {cell}, its mapping says {mappings[uuid].cell}")
        if server.task_state is not None:
            found.append(f"{uuid} is stuck: {server.vm_state}, {server.task_state}")
        if server.vm_state not in AT_REST:
            found.append(f"{uuid} rests in {server.vm_state}")
        if server.vm_state == "error" and server.fault is None:
            found.append(f"{uuid} is in error without a fault")
    return found


async def _claims(site: Site, instances: Servers) -> list[str]:
    top = site.store(GLOBAL)
    found: list[str] = []
    used: dict[str, Counter[str]] = {}
    allocations = [s.value for s in await top.range(Global.ALLOCATIONS.under())]
    placed = {u: s for u, (cell, s) in instances.items() if cell != CELL0}
    ours = {a.consumer: a for a in allocations if a.type == "INSTANCE" or a.consumer in placed}
    found += [f"orphaned claim of {u}" for u in ours if u not in placed]
    found += [f"{u} runs without a claim" for u in placed if u not in ours]
    for allocation in allocations:
        for provider, amounts in allocation.resources.items():
            used.setdefault(provider, Counter()).update(amounts)
    found += [f"{u} claims {a.resources}" for u, a in ours.items() if u in placed and not _right(a, placed[u])]
    providers = {s.value.uuid: s.value for s in await top.range(Global.PROVIDERS.under())}
    for stored in await top.range(Global.USAGES.under()):
        uuid = stored.key.path.rsplit("/", 1)[1]
        if stored.value.used != dict(used.get(uuid, {})):
            found.append(f"usages of {uuid}: {stored.value.used}, claimed {dict(used.get(uuid, {}))}")
        for name, amount in stored.value.used.items():
            if amount > providers[uuid].inventories[name].capacity:
                found.append(f"{uuid} is over its capacity of {name}")
        found += [f"processor {cpu} of {uuid} is given twice" for cpu in given_twice(stored.value)]
    lies = {u: s.topology for u, s in placed.items() if s.topology}
    books = given(s.value for s in await top.range(Global.USAGES.under()))
    found += [f"{u} lies at {lies.get(u)}, has {books.get(u)}" for u in (lies | books) if lies.get(u) != books.get(u)]
    return found


def _right(allocation: Allocation, server: Instance) -> bool:
    return list(allocation.resources.values()) == [needed_by(server.flavor)]


async def _groups(site: Site, mappings: dict[str, InstanceMapping], instances: Servers) -> list[str]:
    """A group's members are its servers, each on the host that its cell says."""
    found = []
    for stored in await site.store(GLOBAL).range(Global.GROUPS.under()):
        group = stored.value
        wanted = {u: m for u, m in mappings.items() if m.group == group.uuid}
        found += [f"{u} is a member of group {group.uuid} and no more" for u in group.members if u not in wanted]
        for uuid in wanted:
            cell, server = instances.get(uuid, ("", None))
            hosts = (server.host,) if server and server.host and cell != CELL0 else ()
            if group.members.get(uuid) != hosts:
                found.append(f"{uuid} is on {hosts}, its group {group.uuid} says {group.members.get(uuid)}")
    return found


async def _charges(site: Site, mappings: dict[str, InstanceMapping]) -> list[str]:
    top = site.store(GLOBAL)
    found = []
    groups = [s.value for s in await top.range(Global.GROUPS.under())]
    for stored in await top.range(Global.QUOTA_USAGE.under()):
        project = stored.key.path.rsplit("/", 1)[1]
        mine = [m.charge for m in mappings.values() if m.project == project]
        owed = (len(mine), sum(c.cores for c in mine), sum(c.ram for c in mine))
        if (stored.value.instances, stored.value.cores, stored.value.ram) != owed:
            found.append(f"project {project} is charged {stored.value}, owes {owed}")
        users = stored.value.users.values()
        if (sum(u.instances for u in users), sum(u.cores for u in users), sum(u.ram for u in users)) != owed:
            found.append(f"users of project {project} are charged {stored.value.users}, owe {owed}")
        there = sum(g.project == project for g in groups)
        if stored.value.server_groups != there:
            found.append(f"project {project} is charged {stored.value.server_groups} groups, has {there}")
    return found


def _guests(site: Site, instances: Servers, promised: Promises) -> list[str]:
    found = []
    where = {(u, str(s.host)): s for u, (cell, s) in instances.items() if cell != CELL0}
    there = {(u, host.name): guest for host in site.machines.values() for u, guest in host.hypervisor.guests.items()}
    found += [f"guest of {u} left on {h}" for u, h in there if (u, h) not in where]
    found += [f"guest of {u} missing on {h}" for u, h in where if (u, h) not in there and u not in promised.reset]
    for (uuid, host), guest in there.items():
        server = where.get((uuid, host))
        if server is not None and guest.topology != (server.topology or TopologyClaim()):
            found.append(f"guest of {uuid} lies at {guest.topology}, not {server.topology}")
    return found


async def _lines(site: Site, mappings: dict[str, InstanceMapping], instances: Servers) -> list[str]:
    top = site.store(GLOBAL)
    found = []
    for span, what in ((Global.ALL_SERVERS.under(), "by-time"), (Global.PROJECT_SERVERS.under(), "projects")):
        listed = [path[-36:] for path in await top.paths(span)]
        if sorted(listed) != sorted(mappings):
            found.append(f"{what} lists {len(listed)}, there are {len(mappings)}")
    specs = {path[-36:] for path in await top.paths(Global.SPECS.under())}
    if specs != mappings.keys():
        found.append(f"specs and servers differ by {sorted(specs ^ mappings.keys())}")
    for name in site.cells:
        hosted = {
            (path.split("/")[1], path.split("/")[2]) for path in await site.store(name).paths(Cell.BY_HOST.under())
        }
        placed = {(str(s.host), u) for u, (where, s) in instances.items() if where == name}
        if hosted != placed:
            found.append(f"by-host of {name} and servers differ by {sorted(hosted ^ placed)}")
    return found
