"""Hosts against records, as pure plans: what a guest's state makes of its server, and what an inventory and the records
do not agree about."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

from attrs import evolve, frozen

from schemas.guest import GuestState, PowerState
from schemas.messages import JobAtWork, Stray
from schemas.operation import Operation
from schemas.server import Fault, Instance

AT_ONCE: Final = 20
"""of each kind that one inventory of a host at work may find fault with: one that lost everything is not acted on in
one go. A host that registers is rid of all strays first."""

WITHOUT_GUEST: Final = frozenset({"building", "error", "soft-delete", "shelved_offloaded", "deleted"})
"""vm_states of servers at rest that need not have a guest"""

MISSING: Final = "GuestMissing"
"""details of the fault of a server whose guest is gone from its host"""


HALTED: Final = "GuestHalted"
"""heads the details of the fault of a server whose guest the hypervisor stopped without being asked"""


# One guest and its server


@frozen
class Observed:
    """`instance` is the server from now on; `why` says what made its vm_state another, or has `begin`, an operation of
    that kind, follow."""

    instance: Instance
    why: str = ""
    begin: Literal["stop"] | None = None


@frozen
class _Rule:
    why: str
    vm_state: str | None = None
    begin: Literal["stop"] | None = None


_OFF: Final = _Rule("the guest shut itself down", "stopped")
_CRASHED: Final = _Rule("the guest crashed", "stopped")
_RUNS: Final = _Rule("the guest was on though its server is stopped", begin="stop")

SYNC: Final[Mapping[tuple[str, int], _Rule]] = MappingProxyType(
    {
        ("active", PowerState.SHUTDOWN): _OFF,
        ("active", PowerState.CRASHED): _CRASHED,
        ("active", PowerState.SUSPENDED): _Rule("the guest went to sleep", begin="stop"),
        ("paused", PowerState.SHUTDOWN): _OFF,
        ("paused", PowerState.CRASHED): _CRASHED,
        ("stopped", PowerState.RUNNING): _RUNS,
        ("stopped", PowerState.PAUSED): _RUNS,
        ("stopped", PowerState.SUSPENDED): _RUNS,
    }
)
"""(vm_state, power state seen) -> what follows, as Nova synchronises power states. Of all else only the power state is
recorded."""

_FOUND: Final[Mapping[int, str]] = MappingProxyType(
    {PowerState.RUNNING: "active", PowerState.PAUSED: "paused", PowerState.SHUTDOWN: "stopped"}
)


def observed(instance: Instance, state: GuestState, now: datetime) -> Observed | None:
    """What its guest's state makes of a server at rest; None when the record says so already."""
    seen = evolve(instance, power_state=state.power_state, addresses=state.addresses or instance.addresses)
    found = _observed(instance, seen, state.halted, now)
    if found.instance == instance and found.begin is None:
        return None
    return evolve(found, instance=evolve(found.instance, updated=now))


def _observed(before: Instance, seen: Instance, halted: str, now: datetime) -> Observed:
    if seen.power_state == PowerState.NOSTATE:
        return _missing(before, seen, now)
    if halted and seen.power_state == PowerState.PAUSED and before.vm_state in ("active", "paused"):
        return _halted(before, seen, halted, now)
    details = before.fault.details if before.fault and before.vm_state == "error" else ""
    if details == MISSING or (details.startswith(HALTED) and not halted):
        vm_state = _FOUND.get(seen.power_state)
        if vm_state is not None:
            why = "the guest is there again" if details == MISSING else "the guest is not halted any more"
            return Observed(evolve(seen, vm_state=vm_state, fault=None), why)
    rule = SYNC.get((before.vm_state, seen.power_state))
    if rule is None:
        return Observed(seen)
    why = f"the guest is off: {_first_line(halted)}" if halted and rule.begin is None else rule.why
    return Observed(evolve(seen, vm_state=rule.vm_state or seen.vm_state), why, rule.begin)


def _halted(before: Instance, seen: Instance, halted: str, now: datetime) -> Observed:
    """The guest cannot go on by itself, so the server is in error, and its project learns why. All of the hypervisor's
    words, which may name what is on the host, are for administrators."""
    text = f"{_first_line(halted)}. Reboot the server hard, or delete it"
    fault = Fault(500, text, now, details=f"{HALTED} on {before.host}: {halted}")
    return Observed(evolve(seen, vm_state="error", fault=fault), f"{before.host}: {_first_line(halted)}")


def _first_line(words: str) -> str:
    return words.partition("\n")[0]


def _missing(before: Instance, seen: Instance, now: datetime) -> Observed:
    """The first time only the power state says so, as in Nova; the second time the server is in error."""
    if before.power_state != PowerState.NOSTATE or before.vm_state in WITHOUT_GUEST:
        return Observed(seen)
    text = f"host {before.host} has no guest of this server any more: somebody removed it. Rebuild or delete the server"
    return Observed(evolve(seen, vm_state="error", fault=Fault(500, text, now, details=MISSING)), text)


# A host's inventory and its servers


@frozen
class Doubts:
    """What an inventory and the list of the host's servers do not agree about: to be judged by the servers' records."""

    unplaced: Mapping[str, int]
    """guests with our site's mark and jobs, by server, with their generation, that the list does not have"""
    absent: Set[str]
    """servers of the list without a guest or a job"""
    foreign: Set[str]
    """guests without our site's mark: never touched"""


def doubts(site: str, guests: Sequence[GuestState], jobs: Sequence[JobAtWork], placed: Set[str]) -> Doubts:
    ours = {g.server: g.mark.generation for g in guests if g.mark and g.mark.site == site}
    foreign = {g.server for g in guests} - ours.keys()
    here = ours | {job.server: job.generation for job in jobs if job.server not in foreign}
    return Doubts(
        unplaced={server: generation for server, generation in here.items() if server not in placed},
        absent=placed - here.keys() - {job.server for job in jobs},
        foreign=foreign,
    )


@frozen
class Records:
    """Of one server, as read after the host had listed its guests."""

    instance: Instance | None
    operation: Operation | None


@frozen
class Verdict:
    strays: tuple[Stray, ...]
    missing: tuple[str, ...]


def judge(host: str, doubtful: Doubts, records: Mapping[str, Records], most: int | None = AT_ONCE) -> Verdict:
    """`records` has every server of `unplaced` and `absent`. A server with an operation at work on this host is left
    alone; what an operation does elsewhere, or one that was given back, excuses no guest here. At most `most` strays;
    None: all."""
    strays = [
        Stray(server, generation)
        for server, generation in doubtful.unplaced.items()
        if not _concerns(records[server].operation, host)
    ]
    missing = [server for server in doubtful.absent if _should_be_here(records[server], host)]
    return Verdict(tuple(sorted(strays, key=lambda s: s.server)[:most]), tuple(sorted(missing)[:AT_ONCE]))


def _concerns(operation: Operation | None, host: str) -> bool:
    if operation is None or operation.step == "returning":
        return False
    return operation.host == host or host in (operation.inputs | operation.results).values()


def _should_be_here(known: Records, host: str) -> bool:
    instance = known.instance
    return (
        known.operation is None
        and instance is not None
        and instance.host == host
        and instance.task_state is None
        and instance.vm_state not in WITHOUT_GUEST
    )


def to_resume(instance: Instance, state: GuestState) -> bool:
    """Whether a guest ran when its machine went down, as far as its record knows."""
    return (
        instance.vm_state == "active"
        and instance.task_state is None
        and instance.power_state == PowerState.RUNNING
        and state.power_state in (PowerState.SHUTDOWN, PowerState.CRASHED)
    )
