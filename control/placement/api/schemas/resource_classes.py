"""Resource classes."""

from control.placement.api.schemas.common import CUSTOM_KEY
from control.placement.api.validation import closed, constant

NAME = constant(closed({"name": {"type": "string", "pattern": CUSTOM_KEY, "maxLength": 255}}, "name"))
