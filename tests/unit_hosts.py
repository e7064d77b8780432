"""A scheduler's model for unit tests: hosts with capacities and what is used of them."""

from collections.abc import Iterable
from typing import Any

from attrs import evolve, field, frozen
from unit_records import facts, stored

from control.scheduler.decide import Choice, Refusal, Wish, choose
from control.scheduler.filters import BUILT_IN
from control.scheduler.model import Model
from kv.keys import Global
from schemas.guest import HostFacts
from schemas.host import HostMapping
from schemas.placement import Inventory, Provider, Usages
from schemas.server import RequestSpec


@frozen
class Sketch:
    """One host. Its provider is called `rp-{name}`."""

    name: str
    vcpu: int = 16
    memory: int = 16384
    disk: int = 100
    used: dict[str, int] = field(factory=dict)
    cell: str = "cell1"
    alive: bool = True
    mapping: dict[str, Any] = field(factory=dict)
    facts: HostFacts | None = field(factory=facts)
    inventories: dict[str, Inventory] = field(factory=dict)

    @property
    def offered(self) -> dict[str, Inventory]:
        usual = {"VCPU": self.vcpu, "MEMORY_MB": self.memory, "DISK_GB": self.disk}
        return {**{name: Inventory(total) for name, total in usual.items()}, **self.inventories}


def model_of(hosts: Iterable[Sketch]) -> Model:
    model = Model()
    for host in hosts:
        uuid = f"rp-{host.name}"
        mapping = evolve(HostMapping(host.name, host.cell, uuid), **host.mapping)
        provider = Provider(uuid, host.name, host.offered, host=host.name, cell=host.cell)
        model.set_mapping(host.name, stored(Global.HOSTS(host.name), mapping))
        model.set_provider(uuid, stored(Global.PROVIDERS(uuid), provider))
        model.set_usages(uuid, stored(Global.USAGES(uuid), Usages(dict(host.used))))
        model.set_facts(host.name, host.facts)
        model.set_alive(host.name, host.alive)
    return model


def decided(
    hosts: Iterable[Sketch], request: RequestSpec, alternates: int = 2, cells: frozenset[str] | None = None, **wish: Any
) -> Choice | Refusal:
    sets = {name: frozenset(value) for name, value in wish.items()}
    asked = Wish(request, cells=frozenset({"cell1", "cell2"}) if cells is None else cells, **sets)
    return choose(model_of(hosts), asked, BUILT_IN, alternates)


def names(choice: Choice | Refusal) -> list[str]:
    """The chosen host, then its alternates."""
    assert isinstance(choice, Choice), choice
    return [choice.host.host, *choice.alternates]
