"""Whose an image is and who sees it: pure rules, before any policy."""

from schemas.errors import NotFound
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


def require_seen(image: Image | None, image_id: str, who: Identity) -> Image:
    """Raises NotFound also for what is somebody else's."""
    if image is None or not may_see(image, who):
        raise NotFound(f"No image found with ID {image_id}")
    return image
