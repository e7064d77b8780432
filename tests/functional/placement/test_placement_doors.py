"""Who may do what, from where, and what a process of its own serves."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from attrs import evolve
from placement_client import SETTINGS, client_of, opened
from ports import free_port
from substrate import eventually

from control.site.options import Profile
from kv.store import Store
from schemas.settings import CorsSettings, PlacementSettings, StoreSettings

SECURE = evolve(SETTINGS, enforce_new_defaults=True)
ADMIN, SERVICE, READER, MEMBER, NOBODY = "admin", "service", "reader", "member,reader", ""


@pytest.mark.parametrize(
    ("settings", "roles", "system", "allowed"),
    [
        (SETTINGS, ADMIN, False, {"list", "reshape", "own", "other"}),
        (SETTINGS, SERVICE, False, {"list", "reshape", "own", "other"}),
        (SETTINGS, READER, False, {"own"}),
        (SETTINGS, NOBODY, False, set()),
        (SETTINGS, ADMIN, True, set()),
        (SECURE, ADMIN, False, {"list", "own", "other"}),
        (SECURE, SERVICE, False, {"list", "reshape", "own", "other"}),
        (SECURE, MEMBER, False, {"own"}),
        (SECURE, ADMIN, True, set()),
    ],
)
async def test_both_sets_of_default_rules(
    store: Store, settings: PlacementSettings, roles: str, system: bool, allowed: set[str]
) -> None:
    headers = {"x-auth-token": "someone:mine", "x-roles": roles}
    if system:
        headers["openstack-system-scope"] = "all"
    asked = {
        "list": ("GET", "/resource_providers"),
        "reshape": ("POST", "/reshaper"),
        "own": ("GET", "/usages?project_id=mine"),
        "other": ("GET", "/usages?project_id=theirs"),
    }
    async with opened(store, settings) as room, client_of(room) as api:
        asker = evolve(api, headers=headers)
        answers = {name: await asker.send(method, path, {}) for name, (method, path) in asked.items()}
    assert {name for name, answer in answers.items() if answer.status_code != 403} == allowed


async def test_a_policy_file_overrides(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"placement:resource_providers:list": "role:reader"\n')
    async with opened(store, evolve(SECURE, policy_file=str(file))) as room, client_of(room) as api:
        reader = evolve(api, headers={"x-auth-token": "someone", "x-roles": "reader"})
        await reader.ok("GET", "/resource_providers")
        detail = await reader.refused(403, "GET", "/traits")
        assert "Policy does not allow placement:traits:list to be performed." in detail


async def test_pages_of_allowed_origins_may_ask(store: Store) -> None:
    cors = CorsSettings(allowed_origin=("http://here",), allow_headers=("openstack-api-version",))
    async with opened(store, evolve(SETTINGS, cors=cors)) as room, client_of(room) as api:
        asking = {"origin": "http://here", "access-control-request-method": "PUT"}
        wanted = {"access-control-request-headers": "openstack-api-version"}
        allowed = await api.http.options("/traits", headers=asking | wanted)
        assert allowed.headers["access-control-allow-origin"] == "http://here"
        assert allowed.headers["access-control-allow-headers"] == "openstack-api-version"
        for refused in (asking | {"origin": "http://there"}, asking | {"access-control-request-headers": "x-odd"}):
            answer = await api.http.options("/traits", headers=refused)
            assert "access-control-allow-origin" not in answer.headers
        answer = await api.http.get("/", headers={"origin": "http://here"})
        assert answer.headers["access-control-allow-origin"] == "http://here"
        assert "openstack-api-version" in answer.headers["access-control-expose-headers"]
        assert (await api.http.options("/traits")).status_code == 200


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-m", "kilonova.cli", *command], env={**os.environ, **environment})
    try:
        yield started
    finally:
        started.terminate()
        started.wait(30)


async def answer_of(url: str, **headers: str) -> Any:
    async with httpx.AsyncClient() as http:
        try:
            answer = await http.get(url, headers=headers)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 and "json" in answer.headers["content-type"] else answer.text


async def test_placement_is_a_process_of_its_own(store_settings: StoreSettings, tmp_path: Path) -> None:
    """At the root and below /placement; it needs etcd and nothing else."""
    port, observed = free_port(), free_port()
    url, token = f"http://127.0.0.1:{port}", {"x-auth-token": "admin"}
    config = tmp_path / "placement.toml"
    config.write_text(
        f"""
        [top.store]
        endpoints = {json.dumps(store_settings.endpoints)}
        prefix = "{store_settings.prefix}"
        [placement]
        port = {port}
        auth_strategy = "noauth2"
        [process]
        observe_port = {observed}
        """
    )

    async def ready() -> bool:
        return await answer_of(f"{url}/readyz") == "ready\n"

    with process("placement", "--config", str(config)) as running:
        await eventually(ready, 30)
        assert await answer_of(f"{url}/resource_providers", **token) == {"resource_providers": []}
        assert await answer_of(f"{url}/placement/resource_providers", **token) == {"resource_providers": []}
        assert (await answer_of(f"{url}/placement"))["versions"][0]["id"] == "v1.0"
        assert "kilonova_api_seconds" in await answer_of(f"http://127.0.0.1:{observed}/metrics")
        assert "kilonova_api_seconds" not in await answer_of(f"{url}/metrics")
        running.terminate()
        assert await asyncio.to_thread(running.wait, 30) == 0


SUITE = Path(__file__).parents[4] / "shared" / "conformance" / "placement"
"""Not of this repository: the runner of Placement's own functional tests, where there is one beside the checkout"""
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def gabbits() -> Path:
    """Placement's own functional tests, as its package has them: installed at their first use."""
    subprocess.run([ROOT / "control" / "site" / "scripts" / "install", "gabbits"], check=True)
    return ROOT / ".venv" / "gabbits"


@pytest.mark.skipif(not SUITE.is_dir(), reason=f"no conformance suite at {SUITE}")
@pytest.mark.parametrize("profile", get_args(Profile))
async def test_the_reference_suite_passes(
    profile: Profile, gabbits: Path, store_settings: StoreSettings, tmp_path: Path
) -> None:
    """What is open of it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    out = tmp_path / "result.json"
    runner = [sys.executable, "run.py", "--endpoint", url, "--profile", profile, "--subset", "open.txt", "--out", out]
    environment = {**os.environ, "PLACEMENT_GABBITS": str(gabbits)}
    with process("site", "placement", "--profile", profile, "--port", str(port), "--etcd", store_settings.endpoints[0]):
        await eventually(lambda: answer_of(url), 30)
        done = await asyncio.to_thread(
            subprocess.run, runner, cwd=SUITE, env=environment, check=False, capture_output=True, text=True, timeout=240
        )
    assert out.exists(), done.stdout + done.stderr
    files = [f for f in json.loads(out.read_text())["files"] if f["profile"] == profile]
    assert files
    failed = [(f["file"], r["name"]) for f in files for r in f["results"] if r["status"] in ("failed", "error")]
    assert not failed
