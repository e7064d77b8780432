"""Who may see and change an image: pure rules."""

from schemas.errors import Forbidden, NotFound
from schemas.identity import Identity
from schemas.image import Image


def owns(image: Image, who: Identity) -> bool:
    return who.is_admin or (bool(who.project) and image.owner == who.project)


def may_see(image: Image, who: Identity) -> bool:
    """By id: members of a shared image see it before they accept it."""
    return (
        owns(image, who)
        or image.visibility in ("public", "community")
        or (image.visibility == "shared" and who.project in image.members)
    )


def may_write(who: Identity) -> bool:
    """Readers look."""
    return who.is_admin or "member" in who.roles


def require_seen(image: Image | None, image_id: str, who: Identity) -> Image:
    """Raises NotFound also for what is somebody else's."""
    if image is None or not may_see(image, who):
        raise NotFound(f"No image found with ID {image_id}")
    return image


def require_change(image: Image, who: Identity) -> None:
    if not (owns(image, who) and may_write(who)):
        raise Forbidden(f"You are not permitted to modify image {image.id}.")


def require_visibility(visibility: str, who: Identity) -> None:
    if visibility == "public" and not who.is_admin:
        raise Forbidden("You are not authorized to complete publicize_image action.")
