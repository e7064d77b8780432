"""Bodies and queries of images."""

from typing import Final

from control.compute.schemas import common as c
from control.compute.validation import constant

LIST: Final = constant(
    c.query(
        {
            **c.PAGE,
            "page_size": c.LIMIT,
            "offset": c.LIMIT,
            **dict.fromkeys(("name", "status", "changes-since", "server", "type", "minRam", "minDisk"), c.ANY),
        }
    )
)
METADATA: Final = constant(c.body("metadata", c.METADATA))
META: Final = constant(c.body("meta", {**c.METADATA, "minProperties": 1, "maxProperties": 1}))
