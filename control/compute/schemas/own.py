"""Bodies of what only Kilonova has."""

from typing import Final

from control.compute.schemas import common as c
from control.compute.schemas.servers import HINTS
from control.compute.validation import constant

EXPLAIN: Final = constant(
    c.body(
        "explain",
        c.fields(
            {
                "flavorRef": {"type": ["string", "integer"], "minLength": 1},
                "imageRef": {"type": "string", "format": "uuid"},
                "availability_zone": c.NAME,
                "project_id": c.WORD,
                "host": c.HOST,
                "scheduler_hints": HINTS,
            },
            "flavorRef",
        ),
    )
)
