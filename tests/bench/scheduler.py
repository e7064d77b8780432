"""What one decision costs: `just bench-scheduler` prints CPU milliseconds by number of hosts and kind of request, and
plots them into bench/scheduler.svg.

In one process without etcd or NATS: the claim is not in it. A third of the hosts is partly used, none is full, each is
in one of twenty aggregates and has 100 traits; every request weighs by all weighers and keeps two alternates.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from attrs import evolve, frozen
from matplotlib import pyplot

from control.scheduler.decide import Choice, Taste, choose_many
from control.scheduler.model import Model
from control.scheduler.pipeline import load_pipeline
from control.scheduler.request import Request, request_for
from kv.keys import Global
from kv.txn import Stored
from runtime import ambient
from schemas.aggregate import Aggregate
from schemas.group import ServerGroup
from schemas.guest import HostFacts
from schemas.host import HostMapping
from schemas.placement import Inventory, Provider, Usages
from schemas.server import FlavorCopy, ImageRef, RequestSpec
from schemas.settings import Settings

SIZES: Final = (100, 1_000, 5_000, 10_000, 20_000, 50_000)
AGGREGATES: Final = 20
FLAVOR: Final = FlavorCopy("1", "small", vcpus=2, memory_mb=2048, root_gb=20)
FLOORS: Final = {("plain", 1_000): 1.0, ("plain", 10_000): 5.0, ("100 equal", 10_000): 50.0}
"""milliseconds that a kind of request may take at a number of hosts"""


def model_of(hosts: int) -> Model:
    draw = Random(hosts)
    model = Model(draw)
    traits = [f"CUSTOM_T{n}" for n in range(150)]
    aggregates = [
        Aggregate(n, f"agg-{n}", f"a{n}", ambient.now(), metadata={"availability_zone": f"az{n % 3}"})
        for n in range(AGGREGATES)
    ]
    facts = HostFacts(64, 262144, 4000, "QEMU", 8002002, "", "192.0.2.1", {"model": "qemu64", "arch": "x86_64"})
    members: list[list[str]] = [[] for _ in aggregates]
    for n in range(hosts):
        host, uuid = f"host-{n:05d}", f"provider-{n:05d}"
        members[n % AGGREGATES].append(host)
        inventories = {
            "VCPU": Inventory(64, max_unit=64, allocation_ratio=4.0),
            "MEMORY_MB": Inventory(262144, reserved=512, max_unit=262144),
            "DISK_GB": Inventory(4000, max_unit=4000),
        }
        provider = Provider(
            uuid,
            host,
            inventories,
            frozenset(draw.sample(traits, 100)),
            aggregates=frozenset({aggregates[n % AGGREGATES].uuid}),
            host=host,
            cell="cell1",
        )
        load = draw.randrange(80) if n % 3 == 0 else 0
        used = {"VCPU": load, "MEMORY_MB": load * 1024, "DISK_GB": load * 10}
        model.set_mapping(host, Stored(Global.HOSTS(host), HostMapping(host, "cell1", uuid), 1, 1))
        model.set_provider(uuid, Stored(Global.PROVIDERS(uuid), provider, 1, 1))
        model.set_usages(uuid, Stored(Global.USAGES(uuid), Usages({k: v for k, v in used.items() if v}), 1, 1))
        model.set_facts(host, facts)
        model.set_alive(host, True)
    model.set_aggregates(evolve(a, hosts=tuple(h)) for a, h in zip(aggregates, members, strict=True))
    return model


@frozen
class Kind:
    """One kind of request; `count` of it are asked at once."""

    name: str
    request: Request
    count: int = 1
    fits: bool = True


def kinds(settings: Settings) -> Iterator[Kind]:
    spec = RequestSpec("u", "p", "u", FLAVOR, None)
    cells = frozenset({"cell1"})

    def request(members: ServerGroup | None = None, **more: object) -> Request:
        return request_for(evolve(spec, **more), settings, cells, group=members)

    def flavor(**extra_specs: str) -> FlavorCopy:
        return evolve(FLAVOR, extra_specs={k.replace("__", ":", 1): v for k, v in extra_specs.items()})

    group = ServerGroup("g", "g", "p", "u", "anti-affinity", ambient.now(), members={"v": ("host-00001",)})
    yield Kind("plain", request())
    yield Kind("100 equal", request(), 100)
    traits = flavor(trait__CUSTOM_T1="required", trait__CUSTOM_T2="required", trait__CUSTOM_T3="forbidden")
    yield Kind("traits and zone", request(flavor=traits, availability_zone="az1"))
    yield Kind("anti-affinity", request(group, group="g"))
    image = ImageRef("i", properties={"hw_architecture": "x86_64", "img_hv_type": "qemu"})
    capable = flavor(capabilities__hypervisor_version=">= 7000000", capabilities__model="qemu64")
    yield Kind("image and capabilities", request(flavor=capable, image=image))
    yield Kind("refused by room", request(flavor=evolve(FLAVOR, vcpus=500)), fits=False)
    yield Kind("refused by every host", request(flavor=flavor(capabilities__model="z80")), fits=False)


def milliseconds(work: Callable[[], object], seconds: float) -> float:
    """CPU time of one run: the best of several, of as many as fit into so many seconds."""
    best, until = float("inf"), time.monotonic() + seconds
    while True:
        start = time.process_time()
        work()
        best = min(best, (time.process_time() - start) * 1000)
        if time.monotonic() > until:
            return best


def plot(path: Path, hosts: Sequence[int], figures: Mapping[str, Sequence[float]]) -> None:
    """Both axes logarithmic: what costs a constant more is a parallel, what grows faster is steeper."""
    drawing, axes = pyplot.subplots(figsize=(8, 5))
    for name, spent in figures.items():
        axes.loglog(hosts, spent, marker="o", label=name)
    axes.set(xlabel="hosts", ylabel="CPU ms a decision")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(prog="just bench-scheduler", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="*", default=list(SIZES), help="sizes of the site")
    parser.add_argument("--seconds", type=float, default=0.25, help="for each figure")
    parser.add_argument("--plot", type=Path, default=Path("bench/scheduler.svg"), help="where the plot goes")
    options = parser.parse_args()
    settings = Settings()
    pipeline, table = load_pipeline(settings), list(kinds(settings))
    print(f"CPU ms a decision, best of {options.seconds:g} s; Python {platform.python_version()}, {platform.machine()}")
    print(f"{'hosts':>8}" + "".join(f"{kind.name:>24}" for kind in table))
    missed, figures = [], {kind.name: list[float]() for kind in table}
    for hosts in options.hosts:
        model, line = model_of(hosts), f"{hosts:>8}"
        for kind in table:
            decisions = choose_many(model, kind.request, pipeline, Taste(2), kind.count)
            assert all(isinstance(d, Choice) == kind.fits for d in decisions), (kind.name, decisions[0])
            spent = milliseconds(
                partial(choose_many, model, kind.request, pipeline, Taste(2), kind.count),
                options.seconds,
            )
            figures[kind.name].append(spent)
            line += f"{spent:>24.3f}"
            floor = FLOORS.get((kind.name, hosts))
            if floor is not None and spent > floor:
                missed.append(f"{kind.name} at {hosts} hosts: {spent:.2f} ms, may take {floor:g}")
        print(line, flush=True)
    plot(options.plot, options.hosts, figures)
    print(f"plotted in {options.plot}")
    for text in missed:
        print(f"too slow: {text}", file=sys.stderr)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
