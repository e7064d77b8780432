"""Asserts the invariants at every instant: on each transaction of each store and on each change of each guest.

    I1  an update that was answered is in the server's authoritative record
    I3  no claim exceeds a capacity, or lands on a disabled host or in a disabled cell
    I4  no server has a running guest on two hosts; but a guest whose agent was killed or stood still before its spawn
        was acknowledged does not count: nothing else on that host can stop it (agents/grant.py says the same)
    I5  no claim breaks a hard policy of a server group
    I6  no charge exceeds the limits in force
    R3  every transaction compares what it stands on (design's third rule, tests/compares.py)
    I9  no build is refused while a host that could take it is alive and reachable

What has to hold within a time, or at rest, is in `run` and `invariants`.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from attrs import define, field

from control.placement.groups import limit_of
from kv.twin.mvcc import Change
from kv.txn import Txn
from schemas.codec import loads
from schemas.group import ServerGroup
from schemas.quota import DEFAULT_LIMITS
from schemas.server import CELL0
from tests.compares import unguarded
from tests.sim.guests import Guests, Where
from tests.sim.loop import Process
from tests.sim.promises import Promises
from tests.sim.site import GLOBAL, PREFIXES, Site

CHARGED: Final = ("instances", "cores", "ram")
ROOM_SECONDS: Final = 12.0
"""for which a host must have been up with room before a refusal is wrong: a decision takes its time"""
STOP_SECONDS: Final = 3.0
"""in which an agent that goes on after a pause has stopped what it must not run"""

Json = Mapping[str, Any]
Handler = Callable[["Monitor", str, str, Json | None, Json | None], None]
"""(monitor, store, path, what the record was, what it is)"""


@define(eq=False)
class Monitor:
    """`violations` is complete at every moment; each is told once."""

    site: Site
    promises: Promises
    violations: list[str] = field(factory=list)
    operations: dict[tuple[str, str], Json] = field(factory=dict)
    """by (store, path): all that are unfinished"""
    guests: Guests = field(init=False)
    _records: dict[tuple[str, str], Json] = field(factory=dict)
    """by (store, path): the present records of the families below"""
    _touched: dict[str, None] = field(factory=dict)
    """servers whose records the present transaction changed"""
    _acknowledged: dict[tuple[str, str], None] = field(factory=dict)
    """(server, host) whose record once said that the server runs there"""
    _said: dict[str, None] = field(factory=dict)
    _room_since: dict[str, float] = field(factory=dict)
    """by provider, when room came up on it, or its inventory or its host's mapping changed"""
    _trouble_at: dict[str, float] = field(factory=dict)
    """by host, when it could not be reached or could not work for the last time"""
    failures_allowed: bool = False
    """spawns fail by themselves, so that a build may run out of attempts"""

    def __attrs_post_init__(self) -> None:
        self.guests = Guests(self._on_twice)
        for host in self.site.machines.values():
            self.guests.watch(host)
        for name, place in self.site.places.items():
            place.cluster.on_changes = lambda changes, name=name: self._changed(name, changes)  # type: ignore[misc]

    def report(self, invariant: str, what: str) -> None:
        if what not in self._said:
            self._said[what] = None
            self.violations.append(f"{invariant} at {self.site.loop.time():.3f}: {what}")

    def committing(self, txn: Txn) -> None:
        """To be called with each transaction before it is sent."""
        for missing in unguarded(txn):
            self.report("R3", missing)

    async def run(self) -> None:
        """Looks every half second at what changes without a transaction. Until cancelled."""
        while True:
            for name in self.site.machines:
                if name not in self._trouble_at or self.site.trouble(name):
                    self._trouble_at[name] = self.site.loop.time()
            await asyncio.sleep(0.5)

    def overdue(self, now: datetime, since: datetime, grace: float) -> list[str]:
        """Operations whose deadline is more than `grace` seconds ago, when time counts from `since` on."""
        limit = now - timedelta(seconds=grace)
        return [
            f"{store}/{path} ({operation['kind']}, {operation['step']})"
            for (store, path), operation in self.operations.items()
            if max(since, datetime.fromisoformat(operation["deadline"])) < limit
        ]

    def answered(self, uuid: str) -> None:
        """An update of the server was answered: its record must say so now."""
        self._check_promises(uuid)

    def _changed(self, place: str, changes: list[Change]) -> None:
        seen: list[tuple[Handler, str, str, Json | None, Json | None]] = []
        for change in changes:
            store, path = _split(place, change.key.decode())
            family = path.split("/", 2)
            handler = HANDLERS[store == GLOBAL].get(family[0]) or HANDLERS[store == GLOBAL].get("/".join(family[:2]))
            if handler is None:
                continue
            old = self._records.pop((store, path), None)
            new = None
            if change.new is not None:
                new = _loaded(change.new.value)
                if new is None:
                    continue  # unreadable: set aside
                self._records[store, path] = new
            seen.append((handler, store, path, old, new))
        for handler, store, path, old, new in seen:
            handler(self, store, path, old, new)
        touched, self._touched = self._touched, {}
        for uuid in touched:
            self._check_promises(uuid)

    def _on_twice(self, uuid: str, where: Where) -> None:
        stoppable = [host for host, agent in where.items() if not self._abandoned(uuid, host, agent)]
        if len(stoppable) > 1:
            self.report("I4", f"{uuid} runs on {sorted(where)}")

    def _abandoned(self, uuid: str, host: str, agent: Process | None) -> bool:
        """Whether the guest's spawn was never acknowledged and the agent that started it cannot stop it now."""
        if agent is None or (uuid, host) in self._acknowledged:
            return False
        return agent.dead or agent.paused or self.site.loop.time() - agent.resumed < STOP_SECONDS

    def _global(self, path: str) -> Json | None:
        return self._records.get((GLOBAL, path))

    def _check_promises(self, uuid: str) -> None:
        if self.promises.promised(uuid) and (record := self._authoritative(uuid)) is not None:
            for broken in self.promises.broken(uuid, record):
                self.report("I1", broken)

    def _authoritative(self, uuid: str) -> Json | None:
        """The request while there is one, else what the mapping's cell has."""
        request = self._global(f"requests/{uuid}")
        if request is not None:
            instance: Json = request["instance"]
            return instance
        mapping = self._global(f"instances/{uuid}")
        return self._records.get((mapping["cell"], f"server/{uuid}")) if mapping and mapping.get("cell") else None

    def _on_server(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        uuid = path[-36:]
        self._records.pop((store, path), None)
        if new is not None:
            self._records[store, f"server/{uuid}"] = new
            if new.get("host") and new.get("vm_state") == "active":
                self._acknowledged[uuid, new["host"]] = None
        else:
            self._records.pop((store, f"server/{uuid}"), None)
        self._touched[uuid] = None

    def _on_request(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        self._touched[path[-36:]] = None

    def _on_operation(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        if new is None:
            self.operations.pop((store, path), None)
            return
        self.operations[store, path] = new
        if store == GLOBAL and new["step"] == "bury" and (old is None or old["step"] != "bury"):
            self._check_refusal(new)

    def _on_usages(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        uuid = path.rsplit("/", 1)[1]
        before = (old or {}).get("used", {})
        used = (new or {}).get("used", {})
        if any(used.get(name, 0) < amount for name, amount in before.items()):
            self._room_since[uuid] = self.site.loop.time()
        inventories = (self._global(f"placement/providers/{uuid}") or {}).get("inventories", {})
        for name, amount in used.items():
            if amount > before.get(name, 0) and amount > _capacity(inventories.get(name)):
                self.report("I3", f"{amount} {name} of {uuid} are claimed, it has {_capacity(inventories.get(name))}")

    def _on_provider(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        self._room_since[path.rsplit("/", 1)[1]] = self.site.loop.time()

    def _on_host(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        for mapping in (old, new):
            if mapping is not None:
                self._room_since[mapping["uuid"]] = self.site.loop.time()

    def _on_cell(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        for (_, other), mapping in self._records.items():
            if other.startswith("hosts/") and path == f"cells/{mapping['cell']}":
                self._room_since[mapping["uuid"]] = self.site.loop.time()

    def _on_allocation(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        if new is None or new.get("type", "INSTANCE") != "INSTANCE":
            return
        for provider in new["resources"].keys() - (old or {"resources": {}})["resources"].keys():
            host = self._host_of(provider)
            if host is None:
                self.report("I3", f"{new['consumer']} was claimed on {provider}, which is no host")
            elif host.get("disabled") or host.get("forced_down"):
                self.report("I3", f"{new['consumer']} was claimed on {host['host']}, which is disabled or down")
            else:
                cell = self._global(f"cells/{host['cell']}")
                if cell is None or cell.get("disabled"):
                    self.report("I3", f"{new['consumer']} was claimed in {host['cell']}, which is disabled or gone")

    def _on_group(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        if new is None:
            return
        group = loads(ServerGroup, orjson.dumps(new))
        hosts = [host for there in group.members.values() for host in there]
        if group.policy == "affinity" and len(set(hosts)) > 1:
            self.report("I5", f"group {group.uuid} with affinity lies on {sorted(set(hosts))}")
        if group.policy == "anti-affinity":
            for host in sorted(set(hosts)):
                if hosts.count(host) > limit_of(group):
                    self.report("I5", f"group {group.uuid} with anti-affinity lies {hosts.count(host)} times on {host}")

    def _on_charge(self, store: str, path: str, old: Json | None, new: Json | None) -> None:
        if new is None:
            return
        project = path.rsplit("/", 1)[1]
        whole = {**DEFAULT_LIMITS, **self._limits("classes/default"), **self._limits(f"limits/{project}")}
        self._check_charge(f"project {project}", old or {}, new, whole)
        for user, used in new.get("users", {}).items():
            own = {**whole, **self._limits(f"user-limits/{project}/{user}")}
            self._check_charge(f"user {user}", (old or {}).get("users", {}).get(user, {}), used, own)

    def _limits(self, name: str) -> dict[str, int]:
        found: dict[str, int] = (self._global(f"quotas/{name}") or {}).get("limits", {})
        return found

    def _check_charge(self, whose: str, old: Json, new: Json, limits: Mapping[str, int]) -> None:
        for resource in CHARGED:
            if new.get(resource, 0) > old.get(resource, 0) and 0 <= limits[resource] < new[resource]:
                self.report("I6", f"{whose} is charged {new[resource]} {resource}, its limit is {limits[resource]}")

    def _host_of(self, provider: str) -> Json | None:
        for (store, path), record in self._records.items():
            if store == GLOBAL and path.startswith("hosts/") and record["uuid"] == provider:
                return record
        return None

    def _check_refusal(self, operation: Json) -> None:
        """That no host which was up, mapped and enabled for a while had room for the build all the time."""
        spec = self._global(f"specs/{operation['server']}")
        if spec is None or spec.get("group") or spec["flavor"].get("extra_specs") or spec.get("forced_host"):
            return  # what a host must offer is more than room
        if self.failures_allowed or operation.get("cancel"):
            return
        needs = {"VCPU": spec["flavor"]["vcpus"], "MEMORY_MB": spec["flavor"]["memory_mb"]}
        needs["DISK_GB"] = spec["flavor"]["root_gb"]
        now = self.site.loop.time()
        for host in self.site.machines.values():
            if now - self._trouble_at.get(host.name, now) < ROOM_SECONDS:
                continue
            mapping = self._global(f"hosts/{host.name}")
            if mapping is None or mapping.get("disabled") or mapping.get("forced_down"):
                continue
            if (self._global(f"cells/{host.cell}") or {"disabled": True}).get("disabled"):
                continue
            provider = mapping["uuid"]
            if now - self._room_since.get(provider, now) < ROOM_SECONDS:
                continue
            used = (self._global(f"placement/usages/{provider}") or {}).get("used", {})
            inventories = (self._global(f"placement/providers/{provider}") or {}).get("inventories", {})
            if all(_fits(inventories.get(name), used.get(name, 0), amount) for name, amount in needs.items()):
                fault = operation.get("fault") or {}
                said = f"{fault.get('message')} {fault.get('details', '')}"
                self.report("I9", f"{operation['server']} is refused though {host.name} has room: {said}")
                return


def _split(place: str, key: str) -> tuple[str, str]:
    """(store, path) of a key of a place's etcd."""
    for store, prefix in PREFIXES.items() if place == GLOBAL else ((place, f"{place}/"),):
        if key.startswith(prefix):
            return store, key[len(prefix) :]
    return "", key


def _loaded(value: bytes) -> Json | None:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and not found.get("record", "").endswith("/99") else None


def _capacity(inventory: Json | None) -> int:
    if inventory is None:
        return 0
    return int((inventory["total"] - inventory.get("reserved", 0)) * inventory.get("allocation_ratio", 1.0))


def _fits(inventory: Json | None, used: int, amount: int) -> bool:
    """One consumer may have no more than `max_unit`, such as the processors that are really there."""
    whole = inventory is not None and amount <= inventory.get("max_unit", amount)
    return whole and used + amount <= _capacity(inventory)


def _remembered(monitor: Monitor, store: str, path: str, old: Json | None, new: Json | None) -> None:
    """Only kept, for what others are compared with."""


_GLOBAL: Final[dict[str, Handler]] = {
    "requests": Monitor._on_request,
    "instances": Monitor._on_request,
    "specs": _remembered,
    "operations": Monitor._on_operation,
    "cells": Monitor._on_cell,
    "hosts": Monitor._on_host,
    "groups": Monitor._on_group,
    "placement/usages": Monitor._on_usages,
    "placement/providers": Monitor._on_provider,
    "placement/allocations": Monitor._on_allocation,
    "quotas/usage": Monitor._on_charge,
    "quotas/limits": _remembered,
    "quotas/user-limits": _remembered,
    "quotas/classes": _remembered,
}
_CELL: Final[dict[str, Handler]] = {"instances": Monitor._on_server, "operations": Monitor._on_operation}
HANDLERS: Final = {True: _GLOBAL, False: _CELL}
"""by whether it is the global store, then by the first or the first two parts of a key"""
assert CELL0 in PREFIXES
