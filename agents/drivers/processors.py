"""Which of a host's processors are for shared guests and which for pinned ones: Nova's rules for its options. Pure."""

from attrs import frozen

from schemas.settings import ComputeSettings
from schemas.topology import cpu_set


@frozen
class Processors:
    """Those of a host that guests may have."""

    shared: frozenset[int]
    dedicated: frozenset[int] = frozenset()


@frozen
class ProcessorSets:
    """What the options ask for; None: they do not say."""

    shared: frozenset[int] | None = None
    dedicated: frozenset[int] | None = None
    reserved: int = 0

    def of(self, online: frozenset[int]) -> Processors:
        """Raises ValueError when a processor is asked for that is not online."""
        for name, asked in (("cpu_shared_set", self.shared), ("cpu_dedicated_set", self.dedicated)):
            if asked is not None and not asked <= online:
                raise ValueError(
                    f"Invalid '[compute] {name}' configuration: one or more of the configured CPUs is not online. "
                    f"Online cpuset(s): {sorted(online)}, configured cpuset(s): {sorted(asked)}"
                )
        if self.shared is None and self.dedicated is None:
            return Processors(online)
        return Processors(self.shared or frozenset(), self.dedicated or frozenset())


def processor_sets(settings: ComputeSettings) -> ProcessorSets:
    """Raises ValueError in Nova's words for what cannot be."""
    shared = _asked("cpu_shared_set", settings.cpu_shared_set)
    dedicated = _asked("cpu_dedicated_set", settings.cpu_dedicated_set)
    if settings.reserved_host_cpus < 0:
        raise ValueError("'reserved_host_cpus' must be at least 0")
    if shared or dedicated:
        if (shared or frozenset()) & (dedicated or frozenset()):
            raise ValueError(
                "The '[compute] cpu_shared_set' and '[compute] cpu_dedicated_set' configuration options must be "
                "disjoint."
            )
        if settings.reserved_host_cpus:
            raise ValueError(
                "The 'reserved_host_cpus' config option cannot be defined alongside the '[compute] cpu_shared_set' or "
                "'[compute] cpu_dedicated_set' options. Unset 'reserved_host_cpus'."
            )
    return ProcessorSets(shared, dedicated, settings.reserved_host_cpus)


def _asked(name: str, text: str) -> frozenset[int] | None:
    if not text:
        return None
    found = cpu_set(text)
    if not found:
        raise ValueError(f"No CPUs available after parsing '[compute] {name}' config, '{text}'")
    return found
