"""What the site asks its own processes over HTTP."""

import httpx

from control.site.options import SiteOptions

TIMEOUT = 3.0


def answers(url: str) -> bool:
    """Whether a GET is answered 200."""
    try:
        with _client() as client:
            return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def hosts_up(options: SiteOptions, password: str) -> int:
    """How many hosts the compute API counts as up; 0 while it cannot say."""
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    user = {"name": "admin", "domain": {"id": "default"}, "password": password}
    login = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    try:
        with _client() as client:
            token = client.post(f"{options.endpoints['identity']}/auth/tokens", json=login).raise_for_status()
            services = client.get(
                f"{options.endpoints['compute']}/os-services",
                params={"binary": "nova-compute"},
                headers={"X-Auth-Token": token.headers["X-Subject-Token"]},
            ).raise_for_status()
    except (httpx.HTTPError, KeyError):
        return 0
    return sum(service["state"] == "up" for service in services.json()["services"])


def _client() -> httpx.Client:
    """For plain HTTP on the loopback address: no proxy of the environment, no time spent on loading CA files."""
    return httpx.Client(timeout=TIMEOUT, trust_env=False, verify=False)
