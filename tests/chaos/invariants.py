"""What must be true of a site at rest (I2 and I3 of the design), as a function of all its records and guests. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from control.placement.resources import needed_by
from control.servers.quota import charge_of
from schemas.guest import GuestState, PowerState
from schemas.server import CELL0, Instance, time_key
from tests.topologies import given, given_twice

Records = Mapping[str, Any]
"""by path"""


@frozen
class CellView:
    """A cell's store, cell0's too."""

    instances: Records
    operations: Records
    outbox: Records
    by_host: Records
    user_data: Records


@frozen
class SiteView:
    mappings: Records
    project_lines: Records
    all_lines: Records
    requests: Records
    specs: Records
    operations: Records
    allocations: Records
    providers: Records
    usages: Records
    quotas: Records
    cells: Mapping[str, CellView] = field(factory=dict)
    guests: Mapping[str, tuple[GuestState, ...]] = field(factory=dict)
    """by host, as its hypervisor has them"""

    @property
    def servers(self) -> dict[str, tuple[str, Instance]]:
        """uuid -> (cell, record)"""
        return {i.uuid: (name, i) for name, cell in self.cells.items() for i in cell.instances.values()}


def violations(view: SiteView) -> list[str]:
    """Every sentence is something that is wrong; empty: the site is at rest and nothing is left over."""
    return [
        *_unfinished(view),
        *_restless(view),
        *_top_and_cells(view),
        *_claims(view),
        *_charges(view),
        *_guests(view),
    ]


def _unfinished(view: SiteView) -> Iterator[str]:
    """Work that is recorded somewhere still."""
    for path, operation in view.operations.items():
        yield f"top has {path}: {operation.kind} at {operation.step}"
    for path in view.requests:
        yield f"top has {path}"
    for name, cell in view.cells.items():
        for path, operation in cell.operations.items():
            yield f"{name} has {path}: {operation.kind} at {operation.step}, attempt {operation.attempt}"
        for path, told in cell.outbox.items():
            yield f"{name} has {path}: {told.kind}"


def _restless(view: SiteView) -> Iterator[str]:
    """I2: every server is at rest; ERROR comes with its reason."""
    for uuid, (name, server) in view.servers.items():
        if server.task_state is not None:
            yield f"server {uuid} in {name}: {server.vm_state} with task {server.task_state}"
        if server.vm_state == "error" and server.fault is None:
            yield f"server {uuid} in {name}: ERROR without a fault"
        if server.vm_state not in ("active", "stopped", "error"):
            yield f"server {uuid} in {name}: {server.vm_state} is no state to rest in"


def _top_and_cells(view: SiteView) -> Iterator[str]:
    """Mappings, lines of lists, specs, hosts' lines and user data are those of the servers, and no more."""
    servers = view.servers
    copies = Counter(i.uuid for cell in view.cells.values() for i in cell.instances.values())
    for uuid, count in copies.items():
        if count > 1:
            yield f"server {uuid} is in {count} cells"
    mappings = {m.uuid: m for m in view.mappings.values()}
    yield from _differ("mappings", {u: m.cell for u, m in mappings.items()}, {u: c for u, (c, _) in servers.items()})
    project_lines = {
        f"projects/{s.project}/instances/{time_key(s.created_us, u)}": (s.project, c) for u, (c, s) in servers.items()
    }
    yield from _differ("project lines", _lines(view.project_lines), project_lines)
    all_lines = {f"by-time/{time_key(s.created_us, u)}": (s.project, c) for u, (c, s) in servers.items()}
    # The line over all projects is written once and may know no cell: the mapping wins.
    known = {
        path: (line.project, line.cell or all_lines.get(path, ("", ""))[1]) for path, line in view.all_lines.items()
    }
    yield from _differ("lines of all projects", known, all_lines)
    yield from _differ("specs", {s.uuid: True for s in view.specs.values()}, dict.fromkeys(servers, True))
    for name, cell in view.cells.items():
        here = {u: s for u, (c, s) in servers.items() if c == name}
        hosted = {f"by-host/{s.host}/{u}": True for u, s in here.items() if s.host}
        yield from _differ(f"hosts' lines of {name}", dict.fromkeys(cell.by_host, True), hosted)
        data = {f"user-data/{u}": True for u, s in here.items() if s.has_user_data}
        yield from _differ(f"user data in {name}", dict.fromkeys(cell.user_data, True), data)


def _lines(records: Records) -> dict[str, tuple[str, str | None]]:
    return {path: (line.project, line.cell) for path, line in records.items()}


def _claims(view: SiteView) -> Iterator[str]:
    """I3: allocations are what the servers on hosts need, usages their sum, and never more than there is."""
    providers = {p.host: uuid_of(path) for path, p in view.providers.items()}
    wanted = {
        uuid: {providers.get(server.host, "?"): needed_by(server.flavor)}
        for uuid, (cell, server) in view.servers.items()
        if cell != CELL0 and server.host
    }
    yield from _differ("allocations", {a.consumer: a.resources for a in view.allocations.values()}, wanted)
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for allocation in view.allocations.values():
        for provider, amounts in allocation.resources.items():
            sums[provider].update(amounts)
    used = {uuid_of(path): dict(u.used) for path, u in view.usages.items() if u.used}
    yield from _differ("usages", used, {provider: dict(total) for provider, total in sums.items()})
    for path, provider in view.providers.items():
        for name, amount in used.get(uuid_of(path), {}).items():
            capacity = provider.inventories[name].capacity
            if amount > capacity:
                yield f"host {provider.host} has {amount} of {capacity} {name} in use"
    for path, usages in view.usages.items():
        for cpu in given_twice(usages):
            yield f"processor {cpu} of {uuid_of(path)} is given twice"
    lies = {uuid: s.topology for uuid, (cell, s) in view.servers.items() if cell != CELL0 and s.topology}
    yield from _differ("topology", given(view.usages.values()), lies)


def _charges(view: SiteView) -> Iterator[str]:
    """A project's usage is the sum of its servers' charges."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for mapping in view.mappings.values():
        charge = mapping.charge
        sums[mapping.project].update(instances=charge.instances, cores=charge.cores, ram=charge.ram)
    used = {
        uuid_of(path): {"instances": u.instances, "cores": u.cores, "ram": u.ram}
        for path, u in view.quotas.items()
        if u.instances or u.cores or u.ram
    }
    yield from _differ("quota", used, {project: dict(total) for project, total in sums.items()})
    for uuid, (_, server) in view.servers.items():
        mapping = view.mappings.get(f"instances/{uuid}")
        if mapping and mapping.charge != charge_of(server.flavor):
            yield f"server {uuid} is charged {mapping.charge}"


def _guests(view: SiteView) -> Iterator[str]:
    """I4: a server's guest is on its host, runs as its record says, and nowhere else is another."""
    found = {(g.server, host): g for host, guests in view.guests.items() for g in guests}
    wanted = {
        (uuid, str(server.host)): server
        for uuid, (cell, server) in view.servers.items()
        if cell != CELL0 and server.host and server.vm_state in ("active", "stopped")
    }
    yield from _differ("guests", dict.fromkeys(found, True), dict.fromkeys(wanted, True))
    for place in found.keys() & wanted.keys():
        guest, server = found[place], wanted[place]
        running = guest.power_state == PowerState.RUNNING
        if running != (server.vm_state == "active"):
            yield f"server {server.uuid} is {server.vm_state}, its guest has power state {guest.power_state}"
        if guest.mark is None or guest.mark.generation > server.generation:
            yield f"server {server.uuid} is of generation {server.generation}, its guest marked {guest.mark}"


def uuid_of(path: str) -> str:
    return path.rsplit("/", 1)[1]


def _differ(what: str, found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> Iterator[str]:
    for key in sorted(found.keys() - wanted.keys(), key=str):
        yield f"{what}: {key} ({found[key]}) is left over"
    for key in sorted(wanted.keys() - found.keys(), key=str):
        yield f"{what}: {key} ({wanted[key]}) is missing"
    for key in found.keys() & wanted.keys():
        if found[key] != wanted[key]:
            yield f"{what}: {key} is {found[key]}, should be {wanted[key]}"
