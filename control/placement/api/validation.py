"""Request bodies and query strings against JSON Schemas, with Placement's texts."""

import re
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from attrs import field, frozen
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from control.compute.quick import accepting
from schemas.errors import BadRequest

Schema = dict[str, Any]

FORMATS: Final = FormatChecker(formats=())
"""Of bodies: a uuid may lack its dashes."""
STRICT_FORMATS: Final = FormatChecker(formats=())
"""Of queries: it may not."""


_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


@FORMATS.checks("uuid", raises=ValueError)
def _uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(_CANONICAL(value)) or bool(UUID(value))


@STRICT_FORMATS.checks("uuid", raises=ValueError)
def _dashed_uuid(value: object) -> bool:
    if not isinstance(value, str) or _CANONICAL(value):
        return True
    return all(UUID(value) and value[i : i + 1] == "-" for i in (8, 13, 18, 23))


class Validator:
    def __init__(self, schema: Schema, formats: FormatChecker) -> None:
        self._accepts = accepting(schema, formats)
        self._validator = Draft202012Validator(schema, format_checker=formats)

    def check(self, value: object, prefix: str) -> None:
        """Raises BadRequest, whose text begins with `prefix`."""
        if self._accepts(value):
            return
        error = best_match(self._validator.iter_errors(value))
        if error is not None:
            raise BadRequest(f"{prefix}: {error}")


@frozen(eq=False)
class Schemas:
    """A schema that changes with the microversion: `build` makes the one of a version, `steps` are the versions that
    change it."""

    build: Callable[[int], Schema]
    steps: tuple[int, ...] = (0,)
    strict: bool = False
    _of: dict[int, Validator] = field(factory=dict, init=False)

    def schema(self, version: int) -> Schema:
        return self.build(max((s for s in self.steps if s <= version), default=self.steps[0]))

    def validator(self, version: int) -> Validator:
        found = self._of.get(version)
        if found is None:
            formats = STRICT_FORMATS if self.strict else FORMATS
            found = self._of[version] = Validator(self.schema(version), formats)
        return found


def constant(schema: Schema) -> Schemas:
    return Schemas(lambda _: schema)


def closed(properties: Schema, *required: str) -> Schema:
    """An object that takes these keys only."""
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


def is_uuid(text: str) -> bool:
    if _CANONICAL(text):
        return True
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def canonical(text: str) -> str:
    """A uuid in lower case with dashes. Raises ValueError."""
    return text if _CANONICAL(text) else str(UUID(text))
