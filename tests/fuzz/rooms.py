"""The rooms that are fuzzed: where their document is, what it stands on, and whom policy lets in where the document
does not name a role."""

from random import Random
from typing import Any, Final, Protocol

import requests
from attrs import frozen

from control.compute.schemas.common import words
from tests.fuzz.ground import Ground
from tests.fuzz.other_grounds import IdentityGround, ImageGround
from tests.fuzz.people import TIMEOUT, Person
from tests.fuzz.targets import Target

Json = dict[str, Any]

OWN: Final = frozenset(
    words(
        "log_in change_password check_token validate_token revoke_token get_auth_catalog get_auth_projects "
        "get_auth_domains get_auth_system get_user list_user_projects list_groups_for_user "
        "list_application_credentials create_application_credential get_application_credential "
        "delete_application_credential list_access_rules get_access_rule get_project list_project_tags "
        "get_project_tag get_domain list_regions get_region list_registered_limits get_limit_model list_limits"
    )
)
"""Of identity, what everybody may of what is one's own; all else is an admin's"""
LOOKS: Final = frozenset(
    words(
        "list_images get_image list_image_tasks list_import_methods list_stores list_metadef_namespaces "
        "list_metadef_resource_types list_members get_member"
    )
)
"""Of images, what a reader may"""
ADMINS: Final = frozenset({"list_tasks", "get_task", "delete_from_store", "list_stores_in_detail"})


class Laid(Protocol):
    """Real objects, as the kinds of ground have them."""

    person: Person

    def lay(self) -> None: ...
    def prepare(self, operation: str) -> None: ...
    def parameter(self, target: Target, name: str) -> str: ...
    def known(self, key: str) -> list[str]: ...
    def example(self, target: Target) -> Any: ...
    def headers(self, target: Target) -> dict[str, str]: ...


@frozen
class Room:
    name: str
    base: str

    def document(self, url: str, version: str) -> Json:
        query = f"?microversion={version}" if self.name == "compute" else ""
        place = "" if self.name == "compute" else self.base
        answer = requests.get(f"{url}{place}/openapi.json{query}", timeout=TIMEOUT)
        answer.raise_for_status()
        told: Json = answer.json()
        return told

    def role(self, operation: str) -> str:
        """That an operation takes, where the document does not say it."""
        if self.name == "compute":
            return "any"
        if self.name == "identity":
            return "any" if operation in OWN else "admin"
        return "admin" if operation in ADMINS else "reader" if operation in LOOKS else "member"

    def ground(self, people: dict[str, Person], role: str, image: str) -> Laid:
        person, admin = people[role], people["admin"]
        owner = admin if role == "admin" else people["member"]
        random = Random(person.version + role)
        if self.name == "identity":
            return IdentityGround(admin, person, random)
        if self.name == "image":
            return ImageGround(admin, owner, person, random)
        return Ground(admin, owner, person, image, random)


ROOMS: Final = {
    room.name: room for room in (Room("compute", "/v2.1"), Room("identity", "/identity"), Room("image", "/image"))
}
