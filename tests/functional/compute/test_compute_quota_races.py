"""No race passes a quota: many clients at once."""

import asyncio
from collections.abc import Callable

import httpx
from compute_client import Client

from control.top import Top
from kv.keys import Global

Api = Callable[..., Client]

LIMIT = 7
CLIENTS = 30


async def limit(api: Api, **limits: int) -> None:
    await api("admin").ok("PUT", "/os-quota-sets/project-demo", {"quota_set": limits})


def codes(answers: list[httpx.Response]) -> dict[int, int]:
    found = [a.status_code for a in answers]
    return {code: found.count(code) for code in set(found)}


async def test_key_pairs(api: Api, top: Top) -> None:
    """Counting and then writing let more through than there may be."""
    await limit(api, key_pairs=LIMIT)
    asked = [{"keypair": {"name": f"k{n}"}} for n in range(CLIENTS)]
    for round_ in range(3):
        answers = await asyncio.gather(*(api(version="2.2").send("POST", "/os-keypairs", body) for body in asked))
        made = codes(answers).get(201, 0)
        known = await top.store.count(Global.KEYPAIRS.under("user-member", ""))
        assert made == LIMIT, f"round {round_}"
        assert known == LIMIT
        names = [a.json()["keypair"]["name"] for a in answers if a.status_code == 201]
        deleted = await asyncio.gather(*(api(version="2.2").send("DELETE", f"/os-keypairs/{n}") for n in names * 2))
        assert codes(deleted) == {204: LIMIT, 404: LIMIT}
    tally = await top.store.get(Global.KEYPAIR_TALLIES("user-member"))
    assert tally is not None
    assert tally.value.count == 0
