"""The services of this site, as the catalog tells them to clients."""

from functools import cache
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from attrs import frozen

INTERFACES: Final = ("public", "internal", "admin")


@frozen
class Service:
    type: str
    name: str
    path: str
    """below the API's URL"""
    description: str

    @property
    def id(self) -> str:
        return stable_id(f"service {self.type}")


SERVICES: Final = (
    Service("compute", "nova", "/compute/v2.1", "Compute"),
    Service("placement", "placement", "/placement", "Placement"),
    Service("identity", "keystone", "/identity/v3", "Identity"),
    Service("image", "glance", "/image", "Image"),
)


@cache
def catalog(api_url: str, region: str) -> list[dict[str, Any]]:
    """As it stands in a token. Not to be changed: everyone gets the same."""
    return [
        {
            "id": service.id,
            "type": service.type,
            "name": service.name,
            "endpoints": [
                {
                    "id": endpoint_id(service, interface, region),
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": api_url + service.path,
                }
                for interface in INTERFACES
            ],
        }
        for service in SERVICES
    ]


def endpoint_id(service: Service, interface: str, region: str) -> str:
    return stable_id(f"endpoint {service.type} {interface} {region}")


def stable_id(what: str) -> str:
    """The same in every process, since nothing of the catalog is stored."""
    return uuid5(NAMESPACE_URL, f"kilonova:{what}").hex
