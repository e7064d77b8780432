"""No race passes a quota: many clients at once, of two API processes."""

import asyncio
from collections.abc import Callable
from random import Random

import httpx
import pytest
from compute_client import Client

from control.top import Top
from kv.keys import Global
from schemas.quota import QuotaUsage, Used

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


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_servers(
    api: Api, top: Top, http: httpx.AsyncClient, other: httpx.AsyncClient, asked: dict[str, str], seed: int
) -> None:
    """Single and multiple creates by which instances or RAM run out; what was refused was charged nothing."""
    chance = Random(seed)
    limits = {"instances": chance.randint(3, 12), "ram": 512 * chance.randint(3, 12), "cores": -1}
    await limit(api, **limits)
    wanted = [(least, least + chance.randint(0, 3)) for least in (chance.randint(1, 4) for _ in range(CLIENTS))]

    async def create(least: int, most: int) -> httpx.Response:
        client = Client(chance.choice([http, other]), version="2.37")
        server = {**asked, "min_count": least, "max_count": most}
        return await client.send("POST", "/servers", {"server": server})

    answers = await asyncio.gather(*(create(*counts) for counts in wanted))
    assert set(codes(answers)) == {202, 403}
    accepted = await top.store.count(Global.REQUESTS.under(""))
    usage = await top.store.get(Global.QUOTA_USAGE("project-demo"))
    fits = min(limits["instances"], limits["ram"] // 512)
    assert accepted <= fits
    refused = [least for (least, _), answer in zip(wanted, answers, strict=True) if answer.status_code == 403]
    assert min(refused) > fits - accepted, "use only grew, so there was at least this much room when it was refused"
    assert usage is not None
    whole = Used(accepted, accepted, 512 * accepted)
    assert usage.value == QuotaUsage(accepted, accepted, 512 * accepted, users={"user-member": whole})
    for refusal in (a.json()["forbidden"]["message"] for a in answers if a.status_code == 403):
        assert refusal.startswith("Quota exceeded for ")


async def test_users_of_one_project(
    api: Api, top: Top, http: httpx.AsyncClient, other: httpx.AsyncClient, asked: dict[str, str]
) -> None:
    """Each within the own limit and both within the project's, whichever API they ask."""
    chance = Random(7)
    own = {"member": 3, "colleague": 6}
    await limit(api, instances=LIMIT, ram=-1, cores=-1)
    for name, instances in own.items():
        path = f"/os-quota-sets/project-demo?user_id=user-{name}"
        await api("admin").ok("PUT", path, {"quota_set": {"instances": instances, "force": True}})

    async def create(name: str) -> int:
        client = Client(chance.choice([http, other]), name, "2.37")
        return (await client.send("POST", "/servers", {"server": asked})).status_code

    who = [name for name in own for _ in range(CLIENTS // 2)]
    answers = await asyncio.gather(*(create(name) for name in who))
    made = {name: sum(1 for w, code in zip(who, answers, strict=True) if (w, code) == (name, 202)) for name in own}
    assert sum(made.values()) == LIMIT, "there was room for as many"
    assert all(made[name] <= own[name] for name in own)
    usage = await top.store.get(Global.QUOTA_USAGE("project-demo"))
    assert usage is not None
    assert {name: used.instances for name, used in usage.value.users.items()} == {
        f"user-{name}": count for name, count in made.items() if count
    }


async def test_no_more_is_given_to_users_than_the_project_has(api: Api, top: Top) -> None:
    """Each of two limits was checked against what was given away before, and both were set."""
    await limit(api, instances=10)

    async def give(name: str) -> int:
        path = f"/os-quota-sets/project-demo?user_id=user-{name}"
        return (await api("admin").send("PUT", path, {"quota_set": {"instances": 7}})).status_code

    codes_ = await asyncio.gather(*(give(name) for name in ("member", "colleague")))
    assert sorted(codes_) == [200, 400]
    own = await top.store.range(Global.USER_QUOTA_LIMITS.under("project-demo", ""))
    assert [stored.value.limits["instances"] for stored in own] == [7]


async def test_a_limit_is_not_set_below_what_is_used_meanwhile(api: Api, top: Top, asked: dict[str, str]) -> None:
    await limit(api, instances=LIMIT)

    async def lower() -> int:
        answer = await api("admin").send("PUT", "/os-quota-sets/project-demo", {"quota_set": {"instances": 1}})
        return answer.status_code

    async def create() -> int:
        return (await api(version="2.37").send("POST", "/servers", {"server": asked})).status_code

    lowered, *_ = await asyncio.gather(lower(), *(create() for _ in range(LIMIT)))
    limits = await top.store.get(Global.QUOTA_LIMITS("project-demo"))
    usage = await top.store.get(Global.QUOTA_USAGE("project-demo"))
    assert limits is not None
    assert usage is not None
    assert usage.value.instances <= limits.value.limits["instances"] == (1 if lowered == 200 else LIMIT)
