"""Who may do what with images: Glance's rule names and defaults, with the personas of its secure RBAC."""

from typing import Any, Final

from control.rules import Rules
from schemas.errors import Forbidden
from schemas.identity import Identity
from schemas.image import Image

_MEMBER: Final = "rule:context_is_admin or (role:member and project_id:%(project_id)s)"
_READER: Final = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)"
_OPEN: Final = (
    "project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s or "
    "'public':%(visibility)s or 'shared':%(visibility)s"
)

DEFAULTS: Final[dict[str, str]] = {
    "default": "",
    "context_is_admin": "role:admin",
    "add_image": _MEMBER,
    "delete_image": _MEMBER,
    "get_image": f"rule:context_is_admin or (role:reader and ({_OPEN}))",
    "get_images": _READER,
    "modify_image": _MEMBER,
    "publicize_image": "role:admin",
    "communitize_image": _MEMBER,
    "download_image": f"rule:context_is_admin or (role:member and ({_OPEN}))",
    "upload_image": _MEMBER,
    "get_image_location": _READER,
    "set_image_location": _MEMBER,
    "delete_image_location": "role:admin",
    "add_member": _MEMBER,
    "delete_member": _MEMBER,
    "get_member": f"{_READER} or (role:reader and project_id:%(member_id)s)",
    "get_members": f"{_READER} or (role:reader and project_id:%(member_id)s)",
    "modify_member": "rule:context_is_admin or (role:member and project_id:%(member_id)s)",
    "deactivate": _MEMBER,
    "reactivate": _MEMBER,
    "copy_image": "role:admin",
    "stores_info_detail": "role:admin or role:service",
    "tasks_api_access": "role:admin",
    "get_metadef_namespaces": _READER,
    "list_metadef_resource_types": _READER,
}
"""What Glance decides on a member's own record, its rules are given as the image's `member_id`."""


def may(rules: Rules, rule: str, who: Identity, image: Image | None = None) -> bool:
    """`image` is None where none is meant: what is asked for is one's own project's then."""
    target: dict[str, Any] = {"project_id": who.project, "owner": who.project}
    if image is not None:
        target = {
            "image_id": image.id,
            "project_id": image.owner,
            "owner": image.owner,
            "tenant": image.owner,
            "visibility": image.visibility,
            "status": image.status,
            "name": image.name,
            "protected": image.protected,
        }
        if who.project in image.members:
            target["member_id"] = who.project
    return rules.allow(rule, target, credentials(who))


def check(rules: Rules, rule: str, who: Identity, image: Image | None = None) -> None:
    """Raises Forbidden in Glance's words."""
    if not may(rules, rule, who, image):
        raise Forbidden(f"You are not authorized to complete {rule} action.")


def credentials(who: Identity) -> dict[str, Any]:
    return {
        "user_id": who.user,
        "project_id": who.project or None,
        "tenant": who.project or None,
        "domain_id": who.domain or None,
        "system_scope": "all" if who.system else None,
        "roles": sorted(who.roles),
        "is_admin": who.is_admin,
    }
