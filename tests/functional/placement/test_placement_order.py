"""Names come back as they were sent, and lists in the order of Placement's database."""

from uuid import uuid4

import os_resource_classes
import os_traits
from placement_client import Client

VALUES = {"total": 8, "max_unit": 8}


async def provider(api: Client) -> str:
    uuid = str(uuid4())
    await api.ok("POST", "/resource_providers", {"name": uuid, "uuid": uuid})
    return uuid


async def test_aggregates_come_back_as_they_were_sent(api: Client) -> None:
    """Undashed ones came back dashed, so that a client did not find its own again."""
    uuid, plain = await provider(api), uuid4().hex
    path = f"/resource_providers/{uuid}/aggregates"
    body = {"aggregates": [plain], "resource_provider_generation": 0}
    assert (await api.ok("PUT", path, body))["aggregates"] == [plain]
    assert (await api.get(path))["aggregates"] == [plain]
    found = await api.get(f"/resource_providers?member_of={plain}")
    assert [p["uuid"] for p in found["resource_providers"]] == [uuid]
    found = await api.get(f"/resource_providers?member_of=in:{plain},{uuid4()}")
    assert [p["uuid"] for p in found["resource_providers"]] == [uuid]


async def test_aggregates_are_listed_as_they_were_first_used(api: Client) -> None:
    """They were sorted. Placement lists them by the ids of its rows, which it makes at the first use of each."""
    first, second, third = sorted((str(uuid4()) for _ in range(3)), reverse=True)
    one, two = await provider(api), await provider(api)

    async def put(uuid: str, *aggregates: str) -> None:
        path = f"/resource_providers/{uuid}/aggregates"
        generation = (await api.get(path))["resource_provider_generation"]
        body = {"aggregates": aggregates, "resource_provider_generation": generation}
        assert (await api.ok("PUT", path, body))["aggregates"] == list(aggregates)

    await put(one, first)
    await put(one)
    await put(two, second, third)
    await put(one, third, second, first)
    for uuid in (one, two):
        listed = (await api.get(f"/resource_providers/{uuid}/aggregates"))["aggregates"]
        assert listed == [a for a in (first, second, third) if uuid == one or a != first]


async def test_traits_are_listed_as_in_their_library_and_then_as_created(api: Client) -> None:
    created = ["CUSTOM_ZEBRA", "CUSTOM_APE", "CUSTOM_MOUSE"]
    for name in created:
        await api.ok("PUT", f"/traits/{name}", code=201)
    standard = os_traits.get_traits()
    assert (await api.get("/traits"))["traits"] == [*standard, *created]
    assert (await api.get("/traits?name=startswith:CUSTOM_"))["traits"] == created
    wanted = [created[1], standard[9], created[0], standard[3]]
    in_order = [standard[3], standard[9], created[0], created[1]]
    assert (await api.get(f"/traits?name=in:{','.join(wanted)}"))["traits"] == in_order
    path = f"/resource_providers/{await provider(api)}/traits"
    body = {"traits": wanted, "resource_provider_generation": 0}
    assert (await api.ok("PUT", path, body))["traits"] == in_order
    assert (await api.get(path))["traits"] == in_order
    assert (await api.get("/traits?associated=true"))["traits"] == in_order


async def test_classes_are_listed_and_named_in_errors_in_the_order_of_their_library(api: Client) -> None:
    created = ["CUSTOM_ZEBRA", "CUSTOM_APE"]
    for name in created:
        await api.ok("PUT", f"/resource_classes/{name}", code=201)
    listed = [c["name"] for c in (await api.get("/resource_classes"))["resource_classes"]]
    assert listed == [*os_resource_classes.STANDARDS, *created]
    uuid = await provider(api)
    path = f"/resource_providers/{uuid}/inventories"
    names = ["DISK_GB", "CUSTOM_APE", "VCPU", "CUSTOM_ZEBRA", "MEMORY_MB"]
    body = {"inventories": dict.fromkeys(names, VALUES), "resource_provider_generation": 0}
    await api.ok("PUT", path, body)
    claim = {
        "allocations": {uuid: {"resources": dict.fromkeys(names, 1)}},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": None,
        "consumer_type": "INSTANCE",
    }
    await api.ok("PUT", f"/allocations/{uuid4()}", claim, code=204)
    said = await api.refused(409, "DELETE", path)
    in_order = "VCPU, MEMORY_MB, DISK_GB, CUSTOM_ZEBRA, CUSTOM_APE"
    assert f"Inventory for '{in_order}' on resource provider '{uuid}' in use." in said


async def test_numbers_of_five_thousand_digits(api: Client) -> None:
    """Python refuses to read more than 4,300 digits, and that was a 500."""
    huge = "9" * 5_000
    assert (await api.get(f"/resource_providers?resources=VCPU:{huge}"))["resource_providers"] == []
    found = await api.get(f"/allocation_candidates?resources=VCPU:{huge}&limit={huge}")
    assert found["allocation_requests"] == []
    for version in (f"1.{huge}", f"{huge}.1"):
        assert (await api.at(version).send("GET", "/resource_providers")).status_code == 406
    await api.refused(400, "GET", "/resource_providers?resources=VCPU:x")
