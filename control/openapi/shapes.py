"""JSON Schemas of answers, made of few words. Objects are closed: a key that is not named here breaks the promise."""

from typing import Any, Final

Schema = dict[str, Any]

ANYTHING: Final[Schema] = {}
STRING: Final[Schema] = {"type": "string"}
INTEGER: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
NULL: Final[Schema] = {"type": "null"}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}
URL: Final[Schema] = {"type": "string", "pattern": "^https?://"}
SECONDS: Final[Schema] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
"""`2026-01-02T03:04:05Z`"""
MICROS: Final[Schema] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$"}
"""`2026-01-02T03:04:05.000006`, UTC"""


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def either(*schemas: Schema) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def array(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def mapping(value: Schema, **more: Any) -> Schema:
    """An object with keys of the users' own."""
    return {"type": "object", "additionalProperties": value, **more}


def obj(properties: Schema, **optional: Schema) -> Schema:
    """All of `properties` are there, and perhaps some of `optional`."""
    return partly({**properties, **optional}, set(optional))


def partly(properties: Schema, optional: set[str]) -> Schema:
    """As `obj`, where the names of what may be missing are no words of Python."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


LINKS: Final = array(obj({"rel": STRING, "href": URL}))
NEXT: Final = array(obj({"rel": one_of("next"), "href": URL}))


def page(name: str, item: Schema) -> Schema:
    """A list that links to its next page."""
    return partly({name: array(item), f"{name}_links": NEXT}, {f"{name}_links"})
