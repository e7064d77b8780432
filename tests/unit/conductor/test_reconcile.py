"""What a guest's state makes of its server, and what an inventory and the records do not agree about."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from unit_records import NOW, UUID, instance, mark, operation, running

from control.conductor.cell.initiative import noted
from control.conductor.cell.reconcile import (
    AT_ONCE,
    HALTED,
    MISSING,
    WITHOUT_GUEST,
    Doubts,
    Observed,
    Records,
    doubts,
    judge,
    observed,
    to_resume,
)
from control.servers.history import ACTIONS
from kv.keys import Cell
from kv.txn import Stored
from schemas.guest import Address, GuestState, PowerState
from schemas.messages import JobAtWork, Stray
from schemas.server import Fault, Instance, time_key

NOSTATE, RUNNING, PAUSED = PowerState.NOSTATE, PowerState.RUNNING, PowerState.PAUSED
SHUTDOWN, CRASHED, SUSPENDED = PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.SUSPENDED
VM_STATES = ("active", "paused", "suspended", "stopped", "rescued", "resized", "building", "error", "soft-delete")


def seen(vm_state: str, power_state: int, before: int = RUNNING) -> Observed | None:
    server = instance(vm_state=vm_state, power_state=before)
    return observed(server, running(power_state=power_state), NOW)


# One guest


@pytest.mark.parametrize(
    ("vm_state", "power_state", "then", "begins"),
    [
        ("active", SHUTDOWN, "stopped", None),
        ("active", CRASHED, "stopped", None),
        ("active", SUSPENDED, "active", "stop"),
        ("active", PAUSED, "active", None),
        ("paused", SHUTDOWN, "stopped", None),
        ("paused", CRASHED, "stopped", None),
        ("stopped", PAUSED, "stopped", "stop"),
        ("suspended", SHUTDOWN, "suspended", None),
        ("rescued", SHUTDOWN, "rescued", None),
        ("error", SHUTDOWN, "error", None),
    ],
)
def test_power_states_are_synchronised_as_nova_does(
    vm_state: str, power_state: int, then: str, begins: str | None
) -> None:
    found = seen(vm_state, power_state)
    assert found
    assert (found.instance.vm_state, found.instance.power_state, found.begin) == (then, power_state, begins)
    assert found.instance.updated == NOW
    assert bool(found.why) == (then != vm_state or begins is not None)


def test_a_stopped_servers_guest_that_runs_is_stopped_though_its_record_says_that_it_runs() -> None:
    found = seen("stopped", RUNNING, RUNNING)
    assert found
    assert found.begin == "stop"


def test_what_the_record_says_already_is_no_news() -> None:
    assert seen("active", RUNNING) is None
    assert seen("stopped", SHUTDOWN, SHUTDOWN) is None


def test_addresses_are_followed_and_kept_when_nothing_is_known_of_them() -> None:
    address = Address("private", "fa:16:3e:00:00:01", "10.0.0.1")
    found = observed(instance(), running(addresses=(address,)), NOW)
    assert found
    assert found.instance.addresses == (address,)
    assert observed(instance(addresses=(address,)), running(), NOW) is None


@pytest.mark.parametrize("vm_state", sorted(set(VM_STATES) - WITHOUT_GUEST))
def test_a_missing_guest_is_an_error_when_it_is_missed_twice(vm_state: str) -> None:
    gone = running(power_state=NOSTATE)
    first = observed(instance(vm_state=vm_state), gone, NOW)
    assert first
    assert (first.instance.vm_state, first.instance.power_state, first.instance.fault) == (vm_state, NOSTATE, None)
    second = observed(first.instance, gone, NOW)
    assert second
    assert second.instance.vm_state == "error"
    assert second.instance.fault
    assert "host h1 has no guest of this server any more" in second.instance.fault.message
    assert observed(second.instance, gone, NOW) is None


@pytest.mark.parametrize(("power_state", "then"), [(RUNNING, "active"), (PAUSED, "paused"), (SHUTDOWN, "stopped")])
def test_a_guest_that_comes_back_takes_its_server_out_of_error(power_state: int, then: str) -> None:
    lost = instance(vm_state="error", power_state=NOSTATE, fault=Fault(500, "gone", NOW, details=MISSING))
    found = observed(lost, running(power_state=power_state), NOW)
    assert found
    assert (found.instance.vm_state, found.instance.fault) == (then, None)
    other = evolve(lost, fault=Fault(500, "no space", NOW, details="HostFull"))
    kept = observed(other, running(power_state=power_state), NOW)
    assert kept
    assert (kept.instance.vm_state, kept.instance.fault) == ("error", other.fault)


WORDS = "the hypervisor stopped the guest: KVM internal error. Suberror: 1\nEAX=0 /var/lib/kilonova/guests"


@pytest.mark.parametrize("vm_state", ["active", "paused"])
def test_a_guest_that_the_hypervisor_stopped_is_an_error_with_its_words(vm_state: str) -> None:
    """A first guest stopped in its boot loader by a KVM internal error, and its server stayed ACTIVE without a word."""
    halted = running(power_state=PAUSED, halted=WORDS)
    found = observed(instance(vm_state=vm_state), halted, NOW)
    assert found
    assert (found.instance.vm_state, found.instance.power_state, found.begin) == ("error", PAUSED, None)
    assert "KVM internal error. Suberror: 1" in found.why
    fault = found.instance.fault
    assert fault
    assert "KVM internal error. Suberror: 1" in fault.message
    assert "/var/lib" not in fault.message  # what is on the host is for administrators
    assert fault.details == f"{HALTED} on h1: {WORDS}"
    assert observed(found.instance, halted, NOW) is None

    # Somebody made it go on, or cut it off.
    for power_state, then in ((RUNNING, "active"), (PAUSED, "paused"), (SHUTDOWN, "stopped")):
        again = observed(found.instance, running(power_state=power_state), NOW)
        assert again
        assert (again.instance.vm_state, again.instance.fault) == (then, None)


def test_a_guest_whose_hypervisor_process_died_is_stopped_with_its_words() -> None:
    found = observed(instance(), running(power_state=SHUTDOWN, halted="qemu ended: out of memory\nmore"), NOW)
    assert found
    assert (found.instance.vm_state, found.begin) == ("stopped", None)
    assert found.why == "the guest is off: qemu ended: out of memory"


def test_what_was_stopped_by_its_user_is_not_an_error_when_its_guest_is_halted() -> None:
    found = observed(instance(vm_state="stopped"), running(power_state=PAUSED, halted=WORDS), NOW)
    assert found
    assert (found.instance.vm_state, found.begin) == ("stopped", "stop")


states = st.sampled_from([NOSTATE, RUNNING, PAUSED, SHUTDOWN, CRASHED, SUSPENDED])


@given(st.sampled_from(VM_STATES), states, states)
def test_seen_again_it_is_settled_or_the_same_begins_again(vm_state: str, before: int, power_state: int) -> None:
    """But for the second look at a missing guest."""
    first = seen(vm_state, power_state, before)
    if first is None:
        return
    again = observed(first.instance, running(power_state=power_state), NOW)
    if power_state == NOSTATE and first.instance.vm_state not in WITHOUT_GUEST:
        assert again
        assert again.instance.vm_state == "error"
        return
    if first.begin:
        assert again
        assert again.begin == first.begin
    else:
        assert again is None
    assert first.instance.generation == 4
    assert first.instance.task_state is None


@pytest.mark.parametrize(("vm_state", "power_state"), [("active", SHUTDOWN), ("stopped", RUNNING), ("active", PAUSED)])
def test_what_was_seen_is_one_transaction_that_yields_to_any_operation(vm_state: str, power_state: int) -> None:
    found = seen(vm_state, power_state)
    assert found
    server = instance(vm_state=vm_state)
    key = Cell.INSTANCES("p1", time_key(server.created_us, UUID))
    txn = noted(Stored(key, server, 12, 9), found, "req-9", NOW, 60)
    operations = [path for path in txn.revisions if path.startswith("operations/")]
    assert txn.revisions[key.path] == 12
    assert [txn.revisions[path] for path in operations] == [0]
    assert bool(set(operations) & set(txn.writes)) == (found.begin is not None)
    told = [path for path in txn.writes if path.startswith("actions/")]
    assert bool(told) == (found.instance.vm_state != vm_state)
    assert found.begin is None or found.begin in ACTIONS


# An inventory


def guest(server: str, generation: int = 1, site: str = "kilonova") -> GuestState:
    return GuestState(server, RUNNING, evolve(mark(server, generation), site=site))


def test_what_an_inventory_puts_in_doubt() -> None:
    found = doubts(
        "kilonova",
        [guest("known"), guest("stray", 3), guest("theirs", site="other"), GuestState("virsh", RUNNING)],
        [JobAtWork("spawning", "boot/req/1", "spawn", 2)],
        {"known", "spawning", "gone"},
    )
    assert found == Doubts({"stray": 3}, {"gone"}, {"theirs", "virsh"})


def test_a_job_for_a_server_that_is_not_here_any_more_is_a_stray() -> None:
    """A host that came back from a silence went on building what had been built elsewhere meanwhile."""
    jobs = [JobAtWork(server, "boot/req/1", "spawn", 7) for server in ("old", "new")]
    assert doubts("kilonova", [guest("old", 3)], jobs, set()).unplaced == {"old": 7, "new": 7}


def one_absent(records: Records) -> bool:
    return judge("h1", Doubts({}, {UUID}, frozenset()), {UUID: records}).missing == (UUID,)


def one_stray(records: Records) -> bool:
    return judge("h1", Doubts({UUID: 3}, frozenset(), frozenset()), {UUID: records}).strays == (Stray(UUID, 3),)


def test_who_is_missing() -> None:
    assert one_absent(Records(instance(), None))
    assert not one_absent(Records(instance(), operation("boot", "spawn")))
    assert not one_absent(Records(instance(task_state="deleting"), None))
    assert not one_absent(Records(instance(host="h2"), None))
    assert not one_absent(Records(None, None))
    for vm_state in WITHOUT_GUEST:
        assert not one_absent(Records(instance(vm_state=vm_state), None))


def test_who_is_a_stray() -> None:
    assert one_stray(Records(None, None))
    assert not one_stray(Records(None, operation("boot", "spawn")))
    assert one_stray(Records(None, operation("boot", "spawn", host="h2")))
    assert not one_stray(Records(None, operation("live-migrate", host="h2", inputs={"source": "h1"})))
    assert one_stray(Records(instance(), operation("boot", "returning")))
    assert not one_stray(Records(None, operation("resize", host="h2", results={"source": "h1"})))


uuids = st.sampled_from([f"s{n}" for n in range(8)])
records = st.builds(
    Records,
    st.none() | st.builds(lambda v, t: instance(vm_state=v, task_state=t), st.sampled_from(VM_STATES), st.none()),
    st.none() | st.builds(lambda h: operation("boot", "spawn", host=h), st.sampled_from(["h1", "h2", None])),
)


@given(
    st.lists(
        st.builds(guest, uuids, st.integers(1, 9), st.sampled_from(["kilonova", "other"])), unique_by=lambda g: g.server
    ),
    st.sets(uuids),
    st.sets(uuids),
    st.dictionaries(uuids, records),
)
def test_the_plan_touches_only_what_is_wrong(
    guests: list[GuestState], working: set[str], placed: set[str], known: dict[str, Records]
) -> None:
    jobs = [JobAtWork(server, "boot/req/1", "spawn", 1) for server in working]
    doubtful = doubts("kilonova", guests, jobs, placed)
    everyone = {f"s{n}": known.get(f"s{n}", Records(None, None)) for n in range(8)}
    verdict = judge("h1", doubtful, everyone)
    by_server = {g.server: g for g in guests}
    for stray in verdict.strays:
        at = by_server.get(stray.server)
        if stray.server in working:
            assert stray.generation == 1
        else:
            assert at is not None
        if at is not None:
            assert at.mark
            assert at.mark.site == "kilonova"
            assert stray.server in working or at.mark.generation == stray.generation
        assert stray.server not in placed
        work = everyone[stray.server].operation
        assert work is None or work.host != "h1"
    for server in verdict.missing:
        assert server in placed - working
        assert server not in {g.server for g in guests if g.mark and g.mark.site == "kilonova"}
        assert everyone[server].operation is None
    touched = {stray.server for stray in verdict.strays} | set(verdict.missing)
    assert not touched & {g.server for g in guests if not g.mark or g.mark.site != "kilonova"} - placed


def test_no_more_than_so_many_at_once() -> None:
    many = {f"s{n:03}": n for n in range(3 * AT_ONCE)}
    nothing = dict.fromkeys(many, Records(None, None))
    assert len(judge("h1", Doubts(many, frozenset(), frozenset()), nothing).strays) == AT_ONCE
    assert len(judge("h1", Doubts(many, frozenset(), frozenset()), nothing, None).strays) == 3 * AT_ONCE
    here: dict[str, Records] = dict.fromkeys(many, Records(instance(), None))
    assert len(judge("h1", Doubts({}, many.keys(), frozenset()), here).missing) == AT_ONCE


def test_what_a_machine_that_was_booted_runs_again() -> None:
    off = running(power_state=SHUTDOWN)
    assert to_resume(instance(), off)
    others: list[tuple[Instance, GuestState]] = [
        (instance(), running()),
        (instance(vm_state="stopped", power_state=SHUTDOWN), off),
        (instance(power_state=SHUTDOWN), off),
        (instance(task_state="rebooting"), off),
        (instance(vm_state="suspended", power_state=SHUTDOWN), off),
    ]
    assert not any(to_resume(*other) for other in others)
