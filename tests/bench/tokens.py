"""`just bench-tokens`: what identity and images cost: logins, validations and cheap calls a second on one API process.

Everything runs on this machine, etcd, nats-server and the load included; CPU is the API process's own. A login costs
what argon2id is meant to cost; a call after it reads nothing from etcd but what it is about.
"""

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
from attrs import frozen

from tests.bench.http import Answer, LeanClient
from tests.bench.report import conditions_text, quantile
from tests.e2e.live import PASSWORD, Api, running_api
from tests.substrate import running_etcd, running_nats

AT_ONCE: Final = 8
IMAGES: Final = 200


@frozen
class Round:
    name: str
    ask: Callable[[], Awaitable[Answer]]
    status: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="just bench-tokens", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            running_etcd(directory / "etcd") as etcd,
            running_nats(directory / "nats") as nats,
            running_api(etcd, nats, directory) as api,
        ):
            _measure(api, options.seconds)


def _measure(api: Api, seconds: float) -> None:
    conditions = {"cores": os.cpu_count(), "Python": platform.python_version(), "in flight": AT_ONCE,
                  "images": IMAGES, "load before": f"{os.getloadavg()[0]:.1f}"}  # fmt: skip
    print(conditions_text(conditions))
    process = psutil.Process(api.running[-1].pid)
    with httpx.Client(base_url=api.url, timeout=60, trust_env=False) as http:
        token = _log_in(http, _password()).headers["x-subject-token"]
        http.headers["X-Auth-Token"] = token
        app = _application_credential(http)
        for number in range(IMAGES):
            http.post("/image/v2/images", json={"name": f"image-{number}"}).raise_for_status()
    plain = LeanClient(api.url, {})
    own = LeanClient(api.url, {"X-Auth-Token": token, "Accept": "application/json"})
    about = LeanClient(api.url, {"X-Auth-Token": token, "X-Subject-Token": token})
    rounds = (
        Round("log in by password", lambda: plain.send("POST", "/identity/v3/auth/tokens", _password()), 201),
        Round("log in by application credential", lambda: plain.send("POST", "/identity/v3/auth/tokens", app), 201),
        Round("validate a token", lambda: about.send("GET", "/identity/v3/auth/tokens"), 200),
        Round("a call with a token", lambda: own.send("GET", "/identity/v3/auth/projects"), 200),
        Round("show an image that is not there", lambda: own.send("GET", "/image/v2/images/none"), 404),
        Round(f"list 25 of {IMAGES} images", lambda: own.send("GET", "/image/v2/images"), 200),
    )
    asyncio.run(_all_of(rounds, process, seconds))


async def _all_of(rounds: tuple[Round, ...], process: psutil.Process, seconds: float) -> None:
    for measured in rounds:
        await _round(measured, process, seconds)


async def _round(measured: Round, process: psutil.Process, seconds: float) -> None:
    took: list[float] = []
    began, cpu = time.perf_counter(), sum(process.cpu_times()[:2])

    async def keep_asking() -> None:
        while time.perf_counter() - began < seconds:
            at = time.perf_counter()
            answer = await measured.ask()
            assert answer.status_code == measured.status, answer.text
            took.append(time.perf_counter() - at)

    await asyncio.gather(*(keep_asking() for _ in range(AT_ONCE)))
    elapsed, spent = time.perf_counter() - began, sum(process.cpu_times()[:2]) - cpu
    late = ", ".join(f"p{share * 100:.0f} {quantile(took, share) * 1000:.1f} ms" for share in (0.5, 0.95))
    print(f"{measured.name:34} {len(took) / elapsed:7.0f}/s   {late}   CPU {spent / len(took) * 1000:.2f} ms each")


def _password() -> dict[str, Any]:
    user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}


def _log_in(http: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    return http.post("/identity/v3/auth/tokens", json=body).raise_for_status()


def _application_credential(http: httpx.Client) -> dict[str, Any]:
    """The body that logs in with it."""
    me = http.get("/identity/v3/users", params={"name": "admin"}).json()["users"][0]["id"]
    path, body = f"/identity/v3/users/{me}/application_credentials", {"application_credential": {"name": "bench"}}
    made = http.post(path, json=body).raise_for_status().json()["application_credential"]
    secret = {"id": made["id"], "secret": made["secret"]}
    return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": secret}}}


if __name__ == "__main__":
    main()
