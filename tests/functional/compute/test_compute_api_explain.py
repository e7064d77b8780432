"""Explanations over HTTP: for operators alone, of servers and of what could be asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from compute_client import Client

from bus.service import Service
from control.scheduler.feed import Feed
from control.scheduler.service import Scheduler
from control.top import Top

Api = Callable[..., Client]


async def test_explanations(api: Api, top: Top, asked: dict[str, Any], tmp_path: Path) -> None:
    admin, member = api("admin", "2.37"), api("member", "2.37")
    service = Service(top.bus, "scheduler", "0.1.0", "")
    await Scheduler(top, Feed(top)).serve(service)
    try:
        server = (await member.ok("POST", "/servers", {"server": asked}, code=202))["server"]["id"]
        found = (await admin.get(f"/kilonova/explain/{server}"))["explanation"]
        amounts = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
        assert found == {"hosts": 0, "fitting": 0, "times": 0, "asked": amounts, "obstacles": [], "best": []}
        body = {"explain": {"flavorRef": "1", "imageRef": asked["imageRef"], "availability_zone": "az1"}}
        assert (await admin.ok("POST", "/kilonova/explain", body))["explanation"]["asked"] == amounts
    finally:
        await service.stop()
    await member.refused(403, "GET", f"/kilonova/explain/{server}")
    await member.refused(403, "POST", "/kilonova/explain", body)
    await admin.refused(404, "GET", f"/kilonova/explain/{uuid4()}")
    await admin.refused(400, "POST", "/kilonova/explain", {"explain": {"flavorRef": "none"}})
    await admin.refused(400, "POST", "/kilonova/explain", {"explain": {}})
