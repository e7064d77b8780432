"""What an agent does about the differences that its inventory finds."""

from types import SimpleNamespace
from typing import Any, cast

from unit_records import UUID, facts

from agents.changes import Changes
from agents.drivers.base import Driver
from agents.grant import Grant
from agents.inventory import Inventory
from agents.jobs import Jobs
from agents.voice import Voice
from schemas.guest import GuestMark, GuestState, PowerState
from schemas.messages import Hello, Stray, ToAgent


async def test_a_stray_is_removed_only_when_a_second_inventory_confirms_it() -> None:
    """The records that a guest is judged by may be read between two transactions of a takeover or a build that is given
    back: a guest that one look calls a stray may be its server's only one."""
    guest = GuestState(UUID, PowerState.RUNNING, GuestMark("site", UUID, "p1", 4, "op"))
    answers = [(Stray(UUID, 4),), (), (Stray(UUID, 4),), (Stray(UUID, 4),)]
    removed: list[str] = []

    async def known() -> Any:
        return facts()

    async def guests() -> Any:
        return (guest,)

    async def hello(_: Hello) -> ToAgent:
        return ToAgent(strays=answers.pop(0))

    async def remove(mark: GuestMark, _: float) -> None:
        removed.append(mark.server)

    inventory = Inventory(
        "site",
        Hello("inventory", "h1"),
        cast(Driver, SimpleNamespace(facts=known, guests=guests)),
        cast(Jobs, SimpleNamespace(at_work=lambda: (), touched_since=lambda *_: False, remove=remove)),
        cast(Changes, SimpleNamespace(keep=lambda _: None, note=lambda _: None)),
        cast(Voice, SimpleNamespace(hello=hello)),
        cast(Grant, SimpleNamespace(extend=lambda *_: None)),
    )
    for _ in range(3):  # a stray, none, a stray
        await inventory.tell("inventory")
        assert removed == []
    await inventory.tell("inventory")
    assert removed == [UUID]
