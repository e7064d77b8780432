"""Leave for a cell's agents to fetch a server's image: inputs of the cell's operation, signed at the top alone."""

from datetime import datetime, timedelta
from typing import Any

from control.images.grants import Grants
from schemas.server import ImageRef


class ImageLeave:
    def __init__(self, grants: Grants, minutes: float) -> None:
        self._grants = grants
        self._minutes = minutes

    def inputs(self, image: ImageRef | None, cell: str, now: datetime) -> dict[str, Any]:
        """`image_url` and `image_expires`, in seconds since the epoch; nothing for a server without an image."""
        if image is None:
            return {}
        # To the whole minute, so that the boots of an image at one time have the same grant, which is signed once.
        expires = (now + timedelta(minutes=self._minutes + 1)).replace(second=0, microsecond=0)
        return {"image_url": self._grants.url(image.digest, cell, expires), "image_expires": expires.timestamp()}
