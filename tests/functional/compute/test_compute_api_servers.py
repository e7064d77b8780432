"""Servers over HTTP while no conductor runs: they stay requests, which the API can show, list, change and delete."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from compute_client import Client
from leaks import PLANTED, leaks

from control.top import Top
from kv.keys import Global
from kv.txn import Txn
from schemas.image import Image

Api = Callable[..., Client]
Asked = dict[str, Any]


async def boot(client: Client, asked: Asked, **more: Any) -> str:
    answer = await client.ok("POST", "/servers", {"server": {**asked, **more}}, 202)
    return str(answer["server"]["id"])


async def test_a_create_answers_with_id_links_and_password(api: Api, asked: Asked) -> None:
    answer = await api(version="2.37").send("POST", "/servers", {"server": asked})
    assert answer.status_code == 202
    server = answer.json()["server"]
    assert set(server) == {"id", "links", "adminPass", "OS-DCF:diskConfig", "security_groups"}
    assert len(server["adminPass"]) == 12
    assert answer.headers["location"] == f"http://api.test:8774/v2.1/servers/{server['id']}"


async def test_a_password_is_stored_encrypted_and_only_when_a_guest_is_told(api: Api, top: Top, asked: Asked) -> None:
    for config_drive in (True, False):
        password = f"correct horse {PLANTED}"
        made = await boot(api(version="2.37"), asked, adminPass=password, config_drive=config_drive)
        request = await top.store.get(Global.REQUESTS(made))
        assert request is not None
        kept = request.value.instance.admin_password
        assert password not in str(request.value)
        assert (top.key.decrypt(kept) if kept else None) == (password.encode() if config_drive else None)


async def test_a_new_server_is_shown(api: Api, asked: Asked) -> None:
    data = base64.b64encode(b"#!/bin/sh\n").decode()
    made = await boot(
        api(version="2.52"), asked, metadata={"a": "b"}, user_data=data, tags=["t"], description="d", config_drive=True
    )
    shown = (await api(version="2.52").get(f"/servers/{made}"))["server"]
    assert {k: shown[k] for k in ("name", "status", "metadata", "tags", "description", "config_drive", "progress")} == {
        "name": "web",
        "status": "BUILD",
        "metadata": {"a": "b"},
        "tags": ["t"],
        "description": "d",
        "config_drive": "True",
        "progress": 0,
    }
    assert (shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:task_state"]) == ("building", "scheduling")
    assert "OS-EXT-SRV-ATTR:host" not in shown
    seen = (await api("admin", "2.16").get(f"/servers/{made}"))["server"]
    assert (seen["OS-EXT-SRV-ATTR:user_data"], seen["host_status"]) == (data, "")


async def test_others_do_not_see_it(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.37"), asked)
    message = await api("stranger").refused(404, "GET", f"/servers/{made}")
    assert message == f"Instance {made} could not be found."
    await api("reader").get(f"/servers/{made}")
    await api("reader").refused(403, "DELETE", f"/servers/{made}")


async def test_a_request_of_the_oldest_version(api: Api, asked: Asked) -> None:
    body = {k: v for k, v in asked.items() if k != "networks"}
    made = await boot(api(), body)
    assert (await api().get(f"/servers/{made}"))["server"]["name"] == "web"
    assert (await api(version="2.19").get(f"/servers/{made}"))["server"]["description"] == "web"
    await api(version="2.37").refused(400, "POST", "/servers", {"server": body})


BAD_CREATES: list[tuple[str, Asked, int, str]] = [
    ("unknown flavor", {"flavorRef": "none"}, 400, "Flavor none could not be found."),
    (
        "unknown image",
        {"imageRef": "00000000-0000-4000-8000-000000000000"},
        400,
        "Can not find requested image",
    ),
    ("no image", {"imageRef": ""}, 400, "Invalid imageRef provided."),
    ("unknown key", {"key_name": "none"}, 400, "Invalid key_name provided."),
    ("counts", {"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
    ("zone", {"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
    (
        "forced host",
        {"availability_zone": "nova:h1"},
        403,
        "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.",
    ),
    (
        "networks",
        {"networks": [{"uuid": "00000000-0000-4000-8000-000000000000"}]},
        400,
        "No network service is configured: networks can be 'auto' or 'none', not a list",
    ),
    (
        "security group",
        {"security_groups": [{"name": "web"}]},
        400,
        "Unable to find security_group with name or id 'web'",
    ),
    ("user data", {"user_data": "%%%"}, 400, "Invalid input for field/attribute user_data. Value: %%%."),
    ("name", {"name": ""}, 400, "Invalid input for field/attribute name. Value: ."),
    ("quota", {"min_count": 11, "max_count": 11}, 403, "Quota exceeded for instances: Requested 11, but already used"),
    (
        "volume",
        {"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "boot_index": 0}]},
        400,
        "Block Device Mapping is Invalid",
    ),
]


@pytest.mark.parametrize(("why", "change", "code", "text"), BAD_CREATES, ids=[c[0] for c in BAD_CREATES])
async def test_bad_creates(api: Api, asked: Asked, why: str, change: Asked, code: int, text: str) -> None:
    message = await api(version="2.37").refused(code, "POST", "/servers", {"server": {**asked, **change}})
    assert message.startswith(text)


async def test_the_image_as_the_one_block_device(api: Api, asked: Asked) -> None:
    device = {
        "source_type": "image",
        "destination_type": "local",
        "boot_index": 0,
        "uuid": asked["imageRef"],
        "delete_on_termination": True,
    }
    await boot(api(version="2.37"), asked, block_device_mapping_v2=[device])
    await boot(api(version="2.37"), asked, block_device_mapping_v2=[device], imageRef="")


async def test_images_that_do_not_fit(api: Api, asked: Asked, top: Top) -> None:
    stored = await top.store.get(Global.IMAGES(asked["imageRef"]))
    assert stored is not None

    async def refusal(**changes: Any) -> str:
        changed: Image = evolve(stored.value, **changes)
        await top.store.commit(Txn("image").put(stored.key, changed))
        return await api(version="2.37").refused(400, "POST", "/servers", {"server": asked})

    assert await refusal(status="queued") == f"Image {asked['imageRef']} is not active."
    assert await refusal(properties={"hw_numa_nodes": "3"}) == (
        "Instance CPUs and/or memory cannot be evenly distributed across instance NUMA nodes. Explicit assignment of "
        "CPUs and memory to nodes is required"
    )
    assert await refusal(properties={"hw_cpu_thread_policy": "isolate"}) == (
        "Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy"
    )
    assert await refusal(min_ram_mb=1024) == "Flavor's memory is too small for requested image."
    assert (await refusal(min_disk_gb=2)).endswith("Flavor disk is 1073741824 bytes, minimum size is 2147483648 bytes.")
    assert (await refusal(virtual_size=2 << 30)).endswith("Flavor disk is 1073741824 bytes, image is 2147483648 bytes.")
    assert await refusal(visibility="private") == "Can not find requested image"


async def test_several_at_once(api: Api, asked: Asked) -> None:
    body = {"server": {**asked, "min_count": 2, "max_count": 3, "return_reservation_id": True}}
    answer = await api(version="2.37").ok("POST", "/servers", body, 202)
    assert answer["reservation_id"].startswith("r-")
    found = await api().get(f"/servers?reservation_id={answer['reservation_id']}")
    assert sorted(s["name"] for s in found["servers"]) == ["web-1", "web-2", "web-3"]


async def test_lists(api: Api, asked: Asked) -> None:
    member = api(version="2.37")
    ids = [await boot(member, asked, name=f"web{n}", metadata={"n": str(n)}) for n in range(3)]
    await boot(api("stranger", "2.37"), asked, name="theirs")

    async def names(query: str, who: Client = member, path: str = "/servers") -> list[str]:
        return [s["name"] for s in (await who.get(f"{path}?{query}"))["servers"]]

    assert await names("") == ["web2", "web1", "web0"]
    assert await names("", path="/servers/detail") == ["web2", "web1", "web0"]
    assert await names("name=web[01]") == ["web1", "web0"]
    assert await names("status=build") == ["web2", "web1", "web0"]
    assert await names("status=ACTIVE") == []
    assert await names("status=nonsense") == []
    assert await names("sort_key=display_name&sort_dir=asc") == ["web0", "web1", "web2"]
    assert await names(f"limit=1&marker={ids[2]}") == ["web1"]
    assert await names("flavor=1") == ["web2", "web1", "web0"]
    assert await names("flavor=2") == []
    assert await names("unknown=1") == ["web2", "web1", "web0"]
    assert await names("host=h1") == ["web2", "web1", "web0"]
    assert await names("limit=0") == []
    assert len(await names("all_tenants=1", api("admin"))) == 4
    assert len(await names("all_tenants=1&tenant_id=project-other", api("admin"))) == 1
    assert await names("", api("admin")) == []
    await member.refused(403, "GET", "/servers?all_tenants=1")
    await member.refused(403, "GET", "/servers?sort_key=host")
    assert await member.refused(400, "GET", "/servers?marker=x") == "marker [x] not found"
    assert await api(version="2.38").refused(400, "GET", "/servers?status=nonsense") == "Invalid status value"
    page = await member.get("/servers/detail?limit=2")
    assert page["servers_links"][0]["href"] == (f"http://api.test:8774/v2.1/servers/detail?limit=2&marker={ids[1]}")


async def test_tags_filter(api: Api, asked: Asked) -> None:
    member = api(version="2.52")
    await boot(member, asked, name="ab", tags=["a", "b"])
    await boot(member, asked, name="b", tags=["b"])

    async def names(query: str) -> list[str]:
        return [s["name"] for s in (await member.get(f"/servers?{query}"))["servers"]]

    assert await names("tags=a,b") == ["ab"]
    assert await names("tags-any=a,b") == ["b", "ab"]
    assert await names("not-tags=a,b") == ["b"]
    assert await names("not-tags-any=a") == ["b"]


async def test_an_update(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.37"), asked)
    change = {"name": "db", "accessIPv4": "192.0.2.1", "description": "x"}
    changed = (await api(version="2.19").ok("PUT", f"/servers/{made}", {"server": change}))["server"]
    assert (changed["name"], changed["accessIPv4"], changed["description"]) == ("db", "192.0.2.1", "x")
    assert "OS-EXT-STS:vm_state" not in changed
    await api().refused(400, "PUT", f"/servers/{made}", {"server": {"description": "too early"}})
    assert (await api().get(f"/servers/{made}"))["server"]["name"] == "db"


async def test_a_lock(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.37"), asked)
    await api().ok("POST", f"/servers/{made}/action", {"lock": None}, 202)
    assert (await api(version="2.9").get(f"/servers/{made}"))["server"]["locked"] is True
    assert await api().refused(409, "DELETE", f"/servers/{made}") == f"Instance {made} is locked"
    await api().ok("POST", f"/servers/{made}/action", {"unlock": None}, 202)
    await api("admin").ok("POST", f"/servers/{made}/action", {"lock": None}, 202)
    await api().refused(403, "POST", f"/servers/{made}/action", {"unlock": None})
    await api("admin").ok("POST", f"/servers/{made}/action", {"unlock": None}, 202)


async def test_a_lock_has_a_reason(api: Api, asked: Asked) -> None:
    member = api(version="2.73")
    made = await boot(member, asked)
    await member.ok("POST", f"/servers/{made}/action", {"lock": {"locked_reason": "audit"}}, 202)
    assert (await member.get(f"/servers/{made}"))["server"]["locked_reason"] == "audit"
    assert len((await member.get("/servers?locked=true"))["servers"]) == 1
    assert (await member.get("/servers?locked=false"))["servers"] == []
    await member.ok("POST", f"/servers/{made}/action", {"unlock": None}, 202)
    assert (await member.get(f"/servers/{made}"))["server"]["locked_reason"] is None
    await member.ok("POST", f"/servers/{made}/action", {"lock": None}, 202)
    await api(version="2.72").refused(404, "POST", "/servers/none/action", {"lock": {"any": "thing"}})


async def test_2_75_is_strict_and_puts_show_all(api: Api, asked: Asked) -> None:
    member = api(version="2.75")
    made = await boot(member, asked)
    message = await member.refused(400, "GET", "/servers?unknown=1")
    assert message == "'unknown' does not match any of the regexes: '^_'"
    for path in ("/flavors", "/os-keypairs", "/limits", "/os-quota-sets/project-demo"):
        await member.refused(400, "GET", f"{path}?unknown=1")
    changed = (await member.ok("PUT", f"/servers/{made}", {"server": {"name": "db"}}))["server"]
    assert (changed["name"], changed["OS-EXT-STS:vm_state"], changed["server_groups"]) == ("db", "building", [])
    assert (await member.get(f"/flavors/{asked['flavorRef']}"))["flavor"]["swap"] == 0


async def test_2_83_has_more_filters_for_everybody(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.74"), asked)
    created = (await api().get(f"/servers/{made}"))["server"]["created"]

    async def count(version: str, query: str) -> int:
        return len((await api(version=version).get(f"/servers?{query}"))["servers"])

    assert await count("2.82", "vm_state=active") == 1
    assert await count("2.83", "vm_state=active") == 0
    assert await count("2.83", "vm_state=building&user_id=user-member&power_state=0") == 1
    assert await count("2.83", f"created_at={created}") == 1
    assert await count("2.83", "launched_at=2020-01-01T00:00:00Z") == 0


async def test_a_requested_host(api: Api, asked: Asked) -> None:
    body = {"server": {**asked, "host": "h9"}}
    assert await api("admin", "2.74").refused(400, "POST", "/servers", body) == "Compute host h9 could not be found."
    assert await api(version="2.74").refused(403, "POST", "/servers", body) == (
        "Policy doesn't allow compute:servers:create:requested_destination to be performed."
    )
    await api("admin", "2.73").refused(400, "POST", "/servers", body)


async def test_actions_on_a_building_server(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.37"), asked)
    path = f"/servers/{made}/action"
    assert await api().refused(409, "POST", path, {"os-start": None}) == (
        f"Cannot 'start' instance {made} while it is in vm_state building"
    )
    assert await api().refused(409, "POST", path, {"reboot": {"type": "SOFT"}}) == (
        f"Cannot 'reboot' instance {made} while it is in vm_state building"
    )
    await api().refused(400, "POST", path, {"reboot": {"type": "GENTLE"}})
    await api().refused(400, "POST", path, {"reboot": {}})
    assert await api().refused(409, "POST", path, {"os-getConsoleOutput": {}}) == f"Instance {made} is not ready"


async def test_metadata_and_tags_of_a_building_server(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.37"), asked, metadata={"a": "b"})
    member = api(version="2.26")
    assert await member.get(f"/servers/{made}/metadata") == {"metadata": {"a": "b"}}
    assert await member.get(f"/servers/{made}/metadata/a") == {"meta": {"a": "b"}}
    assert await member.refused(404, "GET", f"/servers/{made}/metadata/x") == "Metadata item was not found"
    assert await member.refused(409, "POST", f"/servers/{made}/metadata", {"metadata": {"c": "d"}}) == (
        f"Cannot 'update metadata' instance {made} while it is in vm_state building"
    )
    assert await member.get(f"/servers/{made}/tags") == {"tags": []}
    await member.refused(409, "PUT", f"/servers/{made}/tags/x")
    assert await member.refused(404, "GET", f"/servers/{made}/tags/x") == f"Server '{made}' has no tag 'x'"
    assert await member.get(f"/servers/{made}/ips") == {"addresses": {}}


async def test_history(api: Api, asked: Asked) -> None:
    answer = await api(version="2.37").send("POST", "/servers", {"server": asked})
    request, made = answer.headers["x-compute-request-id"], answer.json()["server"]["id"]
    (action,) = (await api().get(f"/servers/{made}/os-instance-actions"))["instanceActions"]
    assert (action["action"], action["request_id"], action["user_id"]) == ("create", request, "user-member")
    path = f"/servers/{made}/os-instance-actions/{request}"
    assert "events" not in (await api().get(path))["instanceAction"]
    assert "traceback" not in (await api(version="2.51").get(path))["instanceAction"]["events"][0]
    event = (await api("admin", "2.62").get(path))["instanceAction"]["events"][0]
    assert {"event", "start_time", "finish_time", "result", "traceback", "host", "hostId"} == set(event)
    page = await api(version="2.58").get(f"/servers/{made}/os-instance-actions?limit=1")
    assert page["links"][0]["rel"] == "next"


async def test_a_delete_before_there_is_a_host(api: Api, asked: Asked) -> None:
    made = await boot(api(version="2.37"), asked)
    answer = await api().send("DELETE", f"/servers/{made}")
    assert (answer.status_code, answer.content) == (204, b"")
    await api().ok("DELETE", f"/servers/{made}", code=204)
    await api().refused(404, "DELETE", "/servers/00000000-0000-4000-8000-000000000000")


async def test_an_unexpected_error_logs_no_password(
    api: Callable[..., Client],
    asked: dict[str, Any],
    top: Top,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tracebacks showed each frame's variables: adminPass in full, the beginning of the token, user data."""

    async def fail(txn: Txn) -> int:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(top.store, "commit", fail)
    body = {"server": {**asked, "adminPass": PLANTED, "user_data": base64.b64encode(PLANTED.encode()).decode()}}
    await api(version="2.37").refused(500, "POST", "/servers", body)
    logged = capsys.readouterr().out
    assert "a fault of ours" in logged
    assert not leaks(logged)
    assert base64.b64encode(PLANTED.encode()).decode()[:16] not in logged
