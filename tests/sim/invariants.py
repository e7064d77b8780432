"""What must hold when a site has come to rest: design's I2, I3, I4, I6 and nothing left over."""

from collections import Counter

from attrs import define, field

from control.placement.resources import needed_by
from kv.keys import Cell, Global
from schemas.server import Instance, InstanceMapping
from schemas.topology import TopologyClaim
from tests.sim.site import CELL, Site
from tests.topologies import given, given_twice


@define
class Promises:
    """What was answered, by uuid. `charged` were accepted with a parent that may have yet to write them; of `doubtful`
    a delete was asked for, with or without an answer; of `reset` the state, and what is on the host is open."""

    answered: list[str] = field(factory=list)
    charged: list[str] = field(factory=list)
    doubtful: set[str] = field(factory=set)
    deleted: set[str] = field(factory=set)
    reset: set[str] = field(factory=set)

    def there(self) -> list[str]:
        """Those that a user may ask for something."""
        return [uuid for uuid in self.answered if uuid not in self.deleted]

    def all(self) -> list[str]:
        return [*self.answered, *self.charged]


async def pending(site: Site) -> list[str]:
    """Keys that say that something is still to be done."""
    top, cell, cell0 = site.store("global"), site.store(CELL), site.store("cell0")
    return [
        *await top.paths(Global.OPERATIONS.under()),
        *await top.paths(Global.REQUESTS.under()),
        *await cell.paths(Cell.OPERATIONS.under()),
        *await cell.paths(Cell.OUTBOX.under()),
        *await cell0.paths(Cell.OUTBOX.under()),
    ]


async def violations(site: Site, promised: Promises) -> list[str]:
    """Empty when all is well."""
    top = site.store("global")
    mappings = {s.value.uuid: s.value for s in await top.range(Global.INSTANCES.under())}
    instances = await _instances(site)
    found = [*site.deaths, *(f"left to do: {path}" for path in await pending(site))]
    found += _promises(mappings, promised)
    found += _records(mappings, instances)
    found += await _claims(site, instances)
    found += await _charges(site, mappings)
    found += _guests(site, instances, promised.reset)
    found += await _lines(site, mappings, instances)
    return found


async def _instances(site: Site) -> dict[str, tuple[str, Instance]]:
    found: dict[str, tuple[str, Instance]] = {}
    for name in ("cell0", CELL):
        for stored in await site.store(name).range(Cell.INSTANCES.under()):
            if stored.value.uuid in found:
                raise AssertionError(f"{stored.value.uuid} is in two cells")
            found[stored.value.uuid] = (name, stored.value)
    return found


def _promises(mappings: dict[str, InstanceMapping], promised: Promises) -> list[str]:
    lost = [u for u in promised.all() if u not in promised.doubtful and u not in mappings]
    kept = [u for u in promised.all() if u in promised.deleted - promised.reset and u in mappings]
    return [f"{u} was accepted and is gone" for u in lost] + [f"{u} was deleted and is there" for u in kept]


def _records(mappings: dict[str, InstanceMapping], instances: dict[str, tuple[str, Instance]]) -> list[str]:
    found = [f"{u} has a mapping and no record" for u in mappings.keys() - instances.keys()]
    found += [f"{u} has a record and no mapping" for u in instances.keys() - mappings.keys()]
    for uuid, (cell, server) in instances.items():
        if uuid in mappings and mappings[uuid].cell != cell:
            found.append(f"{uuid} is in {cell}, its mapping says {mappings[uuid].cell}")
        if server.task_state is not None:
            found.append(f"{uuid} is stuck: {server.vm_state}, {server.task_state}")
        if server.vm_state not in ("active", "stopped", "paused", "suspended", "error"):
            found.append(f"{uuid} rests in {server.vm_state}")
        if server.vm_state == "error" and server.fault is None:
            found.append(f"{uuid} is in error without a fault")
    return found


async def _claims(site: Site, instances: dict[str, tuple[str, Instance]]) -> list[str]:
    top = site.store("global")
    found, used = [], {}
    allocations = {s.value.consumer: s.value for s in await top.range(Global.ALLOCATIONS.under())}
    placed = {u: s for u, (cell, s) in instances.items() if cell == CELL}
    found += [f"orphaned claim of {u}" for u in allocations.keys() - placed.keys()]
    found += [f"{u} runs without a claim" for u in placed.keys() - allocations.keys()]
    for uuid, allocation in allocations.items():
        for provider, amounts in allocation.resources.items():
            used.setdefault(provider, Counter()).update(amounts)
            if uuid in placed and amounts != needed_by(placed[uuid].flavor):
                found.append(f"{uuid} claims {amounts}")
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
    found += [
        f"{u} lies at {lies.get(u)}, has {books.get(u)}" for u in lies.keys() | books if lies.get(u) != books.get(u)
    ]
    return found


async def _charges(site: Site, mappings: dict[str, InstanceMapping]) -> list[str]:
    top = site.store("global")
    found = []
    for stored in await top.range(Global.QUOTA_USAGE.under()):
        project = stored.key.path.rsplit("/", 1)[1]
        mine = [m.charge for m in mappings.values() if m.project == project]
        owed = (len(mine), sum(c.cores for c in mine), sum(c.ram for c in mine))
        if (stored.value.instances, stored.value.cores, stored.value.ram) != owed:
            found.append(f"project {project} is charged {stored.value}, owes {owed}")
        users = stored.value.users.values()
        if (sum(u.instances for u in users), sum(u.cores for u in users), sum(u.ram for u in users)) != owed:
            found.append(f"users of project {project} are charged {stored.value.users}, owe {owed}")
    return found


def _guests(site: Site, instances: dict[str, tuple[str, Instance]], reset: set[str]) -> list[str]:
    found = []
    where = {(u, s.host) for u, (cell, s) in instances.items() if cell == CELL}
    running = {(u, host.name) for host in site.machines.values() for u in host.hypervisor.guests}
    found += [f"guest of {u} left on {h}" for u, h in sorted(running - where)]
    found += [f"guest of {u} missing on {h}" for u, h in sorted(where - running) if u not in reset]
    for host in site.machines.values():
        for uuid, guest in host.hypervisor.guests.items():
            if (uuid, host.name) in where and guest.topology != (instances[uuid][1].topology or TopologyClaim()):
                found.append(f"guest of {uuid} lies at {guest.topology}, not {instances[uuid][1].topology}")
    return found


async def _lines(
    site: Site, mappings: dict[str, InstanceMapping], instances: dict[str, tuple[str, Instance]]
) -> list[str]:
    top, cell = site.store("global"), site.store(CELL)
    found = []
    for span, what in ((Global.ALL_SERVERS.under(), "by-time"), (Global.PROJECT_SERVERS.under(), "projects")):
        listed = [path[-36:] for path in await top.paths(span)]
        if sorted(listed) != sorted(mappings):
            found.append(f"{what} lists {len(listed)}, there are {len(mappings)}")
    specs = {path[-36:] for path in await top.paths(Global.SPECS.under())}
    if specs != mappings.keys():
        found.append(f"specs and servers differ by {specs ^ mappings.keys()}")
    hosted = {tuple(path.split("/")[1:]) for path in await cell.paths(Cell.BY_HOST.under())}
    placed = {(s.host, u) for u, (where, s) in instances.items() if where == CELL}
    if hosted != placed:
        found.append(f"by-host and servers differ by {hosted ^ placed}")
    return found
