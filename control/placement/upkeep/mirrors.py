"""Host aggregates as they have to be found again among the placement aggregates of their hosts' providers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from schemas.aggregate import Aggregate
from schemas.host import HostMapping
from schemas.placement import Provider

NO_MAPPING: Final = 4
NO_PROVIDER: Final = 6
"""nova-manage's exit codes"""


@frozen
class Missing:
    """Aggregates that a host's provider has to be put into."""

    host: str
    provider: str
    aggregates: frozenset[str]


@frozen
class Unmapped:
    host: str
    code: int


def missing_mirrors(
    aggregates: Iterable[Aggregate], mappings: Mapping[str, HostMapping], providers: Mapping[str, Provider]
) -> Sequence[Missing | Unmapped]:
    """By host. As with nova-manage nothing is taken out: a provider may be in other aggregates than hosts are."""
    wanted: dict[str, set[str]] = {}
    for aggregate in aggregates:
        for host in aggregate.hosts:
            wanted.setdefault(host, set()).add(aggregate.uuid)
    found: list[Missing | Unmapped] = []
    for host, uuids in sorted(wanted.items()):
        mapping = mappings.get(host)
        provider = providers.get(mapping.uuid) if mapping else None
        if mapping is None:
            found.append(Unmapped(host, NO_MAPPING))
        elif provider is None:
            found.append(Unmapped(host, NO_PROVIDER))
        elif not uuids <= provider.aggregates:
            found.append(Missing(host, provider.uuid, frozenset(uuids - provider.aggregates)))
    return found
