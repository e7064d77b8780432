"""A request as filters and weighers see it: what was asked for, and what the request filters made of it."""

from collections.abc import Mapping

from attrs import field, frozen

from control.placement.demands import Demands, demands_of
from control.placement.resources import Amounts, needed_by
from control.placement.topology import NO_WISHES, Wishes, wishes_of
from schemas.group import ServerGroup
from schemas.server import RequestSpec
from schemas.settings import Settings


@frozen
class Membership:
    """The host's provider must be (or must not be) in one of these placement aggregates; `why` it is refused if not."""

    aggregates: frozenset[str]
    why: str


@frozen
class Request:
    """`cells` take servers now. `avoid` were tried in vain, `prefer` are alternates chosen before. `asked` are the
    amounts of a claim."""

    spec: RequestSpec
    cells: frozenset[str]
    asked: Amounts
    demands: Demands
    settings: Settings = field(factory=Settings)
    avoid: frozenset[str] = frozenset()
    prefer: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    """traits of the host itself; those of what gives its resources are in `demands`"""
    forbidden: frozenset[str] = frozenset()
    inside: tuple[Membership, ...] = ()
    outside: tuple[Membership, ...] = ()
    group: ServerGroup | None = None
    hinted: Mapping[str, frozenset[str]] = field(factory=dict)
    """hosts of the servers that hints name"""
    topology: Wishes = NO_WISHES
    source_cell: str | None = None
    """the cell that a server moves away from"""
    rebuild: bool = False
    """an image is changed on the present host: most filters do not run"""

    @property
    def all_required(self) -> frozenset[str]:
        """All traits that it asks for."""
        return self.required | self.demands.required

    @property
    def properties(self) -> Mapping[str, str]:
        """The image's."""
        return self.spec.image.properties if self.spec.image else {}

    @property
    def extra_specs(self) -> Mapping[str, str]:
        """The flavor's."""
        return self.spec.flavor.extra_specs

    def hint(self, name: str) -> tuple[str, ...]:
        """A hint's values; Nova takes one or a list."""
        value = self.spec.scheduler_hints.get(name)
        if value is None:
            return ()
        return tuple(str(v) for v in value) if isinstance(value, list | tuple) else (str(value),)


def request_for(
    spec: RequestSpec,
    settings: Settings,
    cells: frozenset[str],
    *,
    avoid: frozenset[str] = frozenset(),
    prefer: frozenset[str] = frozenset(),
    group: ServerGroup | None = None,
    hinted: Mapping[str, frozenset[str]] | None = None,
) -> Request:
    """Before the request filters."""
    properties = spec.image.properties if spec.image else {}
    demands = demands_of(spec.flavor.extra_specs, properties)
    return Request(
        spec,
        cells,
        needed_by(spec.flavor, properties),
        demands,
        settings,
        avoid=avoid,
        prefer=prefer,
        group=group,
        hinted=hinted or {},
        topology=wishes_of(
            spec.flavor.vcpus, spec.flavor.memory_mb, spec.flavor.extra_specs, properties, settings.pci.alias
        ),
    )
