"""A scheduler's model for unit tests: hosts with capacities and what is used of them."""

from collections.abc import Iterable
from typing import Any

from attrs import evolve, field, frozen
from unit_records import NOW, facts, stored

from control.scheduler.decide import Choice, Decision, Refusal, Taste, choose
from control.scheduler.model import Model
from control.scheduler.pipeline import Pipeline, load_pipeline
from control.scheduler.request import Request, request_for
from kv.keys import Global
from schemas.aggregate import Aggregate
from schemas.guest import HostFacts
from schemas.host import HostMapping
from schemas.placement import Inventory, Provider, Usages
from schemas.server import RequestSpec
from schemas.settings import FilterSchedulerSettings, SchedulerSettings, Settings


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
    traits: frozenset[str] = frozenset()
    servers: frozenset[str] = frozenset()
    failed_builds: int = 0

    @property
    def offered(self) -> dict[str, Inventory]:
        usual = {"VCPU": self.vcpu, "MEMORY_MB": self.memory, "DISK_GB": self.disk}
        return {**{name: Inventory(total) for name, total in usual.items()}, **self.inventories}


def model_of(hosts: Iterable[Sketch], aggregates: Iterable[Aggregate] = ()) -> Model:
    """With the aggregates mirrored as the providers' placement aggregates."""
    model, aggregates = Model(), tuple(aggregates)
    for host in hosts:
        uuid = f"rp-{host.name}"
        mapping = evolve(HostMapping(host.name, host.cell, uuid), **host.mapping)
        mirrored = frozenset(a.uuid for a in aggregates if host.name in a.hosts)
        provider = Provider(
            uuid, host.name, host.offered, host.traits, aggregates=mirrored, host=host.name, cell=host.cell
        )
        model.set_mapping(host.name, stored(Global.HOSTS(host.name), mapping))
        model.set_provider(uuid, stored(Global.PROVIDERS(uuid), provider))
        model.set_usages(uuid, stored(Global.USAGES(uuid), Usages(dict(host.used))))
        model.set_facts(host.name, host.facts)
        model.set_alive(host.name, host.alive)
        model.set_servers(host.name, host.servers)
        model.set_failed_builds(host.name, host.failed_builds)
    model.set_aggregates(aggregates)
    return model


def aggregate(ident: int, hosts: Iterable[str], **metadata: str) -> Aggregate:
    return Aggregate(ident, f"agg-{ident}", f"a{ident}", NOW, metadata=metadata, hosts=tuple(hosts))


def options(scheduler: dict[str, Any] | None = None, **filter_scheduler: Any) -> Settings:
    """Settings with these options of `[filter_scheduler]`, and of `[scheduler]`."""
    return Settings(
        scheduler=SchedulerSettings(**(scheduler or {})), filter_scheduler=FilterSchedulerSettings(**filter_scheduler)
    )


def with_filters(*names: str, **filter_scheduler: Any) -> Settings:
    return options(enabled_filters=names, **filter_scheduler)


def asked(
    spec: RequestSpec, settings: Settings | None = None, cells: frozenset[str] | None = None, **more: Any
) -> Request:
    sets = {name: frozenset(value) for name, value in more.items() if name in ("avoid", "prefer")}
    usable = frozenset({"cell1", "cell2"}) if cells is None else cells
    return request_for(spec, settings or Settings(), usable, **{**more, **sets})


def decided(
    hosts: Iterable[Sketch],
    spec: RequestSpec,
    alternates: int = 2,
    *,
    aggregates: Iterable[Aggregate] = (),
    settings: Settings | None = None,
    pipeline: Pipeline | None = None,
    **more: Any,
) -> Decision:
    rebuild = more.pop("rebuild", False)
    request = evolve(asked(spec, settings, **more), rebuild=rebuild)
    taste = Taste(alternates, same_cell=request.settings.scheduler.alternates_in_same_cell)
    return choose(model_of(hosts, aggregates), request, pipeline or load_pipeline(request.settings), taste)


def names(choice: Choice | Refusal) -> list[str]:
    """The chosen host, then its alternates."""
    assert isinstance(choice, Choice), choice
    return [choice.host.host, *choice.alternates]
