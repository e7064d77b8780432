"""What the images of one project may take: how many, how many bytes of data, how large one record."""

from attrs import frozen

from kv.keys import Global
from kv.store import Store
from kv.txn import Txn
from schemas.codec import dumps
from schemas.errors import TooLarge
from schemas.image import Image, ImageUsage

RECORD_BYTES = 65536
"""of one image's record: properties, tags and members together"""


@frozen
class ImageLimits:
    """Of one project; 0: without limit."""

    images: int = 0
    bytes: int = 0


UNLIMITED = ImageLimits()


async def charge(store: Store, txn: Txn, owner: str, images: int, size: int, limits: ImageLimits = UNLIMITED) -> None:
    """Adds to `txn` what a change means for the usage of the project `owner`; less than nothing is given back.

    Raises:
        TooLarge: Of what is charged the project would have more than it may.
    """
    key = Global.IMAGE_USAGE(owner)
    stored = await store.get(key)
    had = stored.value if stored else ImageUsage()
    now = ImageUsage(max(0, had.images + images), max(0, had.bytes + size))
    for resource, before, delta, after, most in (
        ("image_count_total", had.images, images, now.images, limits.images),
        ("image_size_total", had.bytes, size, now.bytes, limits.bytes),
    ):
        if delta > 0 and 0 < most < after:
            raise TooLarge(
                f"Project {owner} is over a limit for [Resource {resource} is over limit of {most} due to current "
                f"usage {before} and delta {delta}]"
            )
    txn.at(key, stored.mod_revision if stored else 0).put(key, now)


def require_small(image: Image) -> None:
    """Raises TooLarge."""
    if (length := len(dumps(image))) > RECORD_BYTES:
        raise TooLarge(
            f"The limit has been exceeded on the size of an image's metadata. Attempted: {length} bytes, Maximum: "
            f"{RECORD_BYTES}"
        )
