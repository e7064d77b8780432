"""Who may see and change an image: pure rules."""

from schemas.errors import Forbidden, NotFound
from schemas.identity import Identity
from schemas.image import Image


def may_see(image: Image, who: Identity) -> bool:
    """By id: members of a shared image see it before they accept it."""
    return (
        may_change(image, who)
        or image.visibility in ("public", "community")
        or (image.visibility == "shared" and who.project in image.members)
    )


def may_change(image: Image, who: Identity) -> bool:
    return who.is_admin or (bool(who.project) and image.owner == who.project)


def require_seen(image: Image | None, image_id: str, who: Identity) -> Image:
    """Raises NotFound also for what is somebody else's."""
    if image is None or not may_see(image, who):
        raise NotFound(f"No image found with ID {image_id}")
    return image


def require_change(image: Image, who: Identity) -> None:
    if not may_change(image, who):
        raise Forbidden(f"You are not permitted to modify image {image.id}.")


def require_visibility(visibility: str, who: Identity) -> None:
    if visibility == "public" and not who.is_admin:
        raise Forbidden("You are not authorized to complete publicize_image action.")
