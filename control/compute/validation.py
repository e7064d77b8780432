"""Request bodies and query strings against JSON Schemas, with Nova's texts."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from uuid import UUID

from attrs import field, frozen
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

from control.compute.call import Body, Query
from control.compute.quick import accepting, as_number
from schemas.errors import BadRequest

Schema = dict[str, Any]


class _BadName(ValueError):
    """What is wrong with a name, for people."""


@frozen(eq=False)
class Schemas:
    """A schema that changes with the microversion: `build` makes the one of a version, `steps` are the versions that
    change it."""

    build: Callable[[int], Schema]
    steps: tuple[int, ...] = (1,)
    _built: dict[tuple[int, bool], "Validator"] = field(factory=dict, init=False)

    def step(self, version: int) -> int:
        return max(s for s in self.steps if s <= version)

    def schema(self, version: int) -> Schema:
        return self.build(self.step(version))

    def validator(self, version: int, *, legacy: bool = False) -> "Validator":
        key = (self.step(version), legacy)
        if key not in self._built:
            self._built[key] = Validator(self.build(key[0]), legacy=legacy)
        return self._built[key]


def constant(schema: Schema) -> Schemas:
    return Schemas(lambda _: schema)


STRICT_SINCE: Final = 75


def stricter(properties: Schema) -> Schemas:
    """A query whose unknown keys are dropped below 2.75 and refused from then on."""
    return Schemas(
        lambda version: {
            "type": "object",
            "properties": properties,
            "additionalProperties": version < STRICT_SINCE,
        },
        (1, STRICT_SINCE),
    )


class Validator:
    """`legacy` drops unknown keys instead of refusing them and lets names begin and end with spaces."""

    def __init__(self, schema: Schema, *, legacy: bool = False) -> None:
        make = _tolerant() if legacy else _strict()
        self._schema = schema
        formats = LEGACY_FORMATS if legacy else FORMATS
        self._validator = make(schema, format_checker=formats)
        self._accepts = accepting(schema, formats)
        self._known = frozenset(schema.get("properties", ()))

    def check_body(self, body: object) -> Body:
        """The body itself. Raises BadRequest."""
        if not self._accepts(body):
            for error in self._validator.iter_errors(body):
                raise BadRequest(_text(error, "field/attribute", error.path.pop() if error.path else None))
        assert isinstance(body, dict)
        return body

    def check_query(self, query: Query) -> Query:
        """The parameters that the schema knows. Raises BadRequest."""
        if not self._accepts(query):
            for error in self._validator.iter_errors(query):
                raise BadRequest(_text(error, "query parameters", error.path.popleft() if error.path else None))
        return {k: v for k, v in query.items() if k in self._known}


def _text(error: ValidationError, where: str, path: object) -> str:
    if isinstance(error.cause, _BadName):
        return f"An invalid 'name' value was provided. The name must be: {error.cause}"
    if path is None:
        return error.message
    return f"Invalid input for {where} {path}. Value: {error.instance}. {error.message}"


def _limit(beyond: Callable[[float, float], bool], text: str) -> Callable[..., Iterator[ValidationError]]:
    """Limits hold for numbers in strings as well, as in Nova."""

    def check(_: Any, limit: float, instance: object, __: Schema) -> Iterator[ValidationError]:
        number = as_number(instance)
        if number is not None and beyond(number, limit):
            yield ValidationError(f"{instance!r} is {text} of {limit!r}")

    return check


_LIMITS: Final = {
    "minimum": _limit(lambda number, limit: number < limit, "less than the minimum"),
    "maximum": _limit(lambda number, limit: number > limit, "greater than the maximum"),
}


@cache
def _strict() -> Any:
    extend: Any = validators.extend  # its stub has no types
    return extend(Draft202012Validator, _LIMITS)


@cache
def _tolerant() -> Any:
    def drop_unknown(validator: Any, allowed: object, instance: object, schema: Schema) -> Iterator[ValidationError]:
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        if allowed is False and isinstance(instance, dict):
            if patterns:
                yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, schema)
                return
            for key in [k for k in instance if k not in known]:
                del instance[key]

    extend: Any = validators.extend  # its stub has no types
    return extend(Draft202012Validator, {**_LIMITS, "additionalProperties": drop_unknown})


FORMATS: Final = FormatChecker(formats=())
LEGACY_FORMATS: Final = FormatChecker(formats=())


def _format(name: str, raises: type[Exception] = ValueError) -> Callable[[Callable[[str], object]], None]:
    """Registers a check that raises; values that are no strings are the affair of `type`."""

    def register(check: Callable[[str], object]) -> None:
        def checked(value: object) -> bool:
            if isinstance(value, str):
                check(value)
            return True

        for formats in (FORMATS, LEGACY_FORMATS):
            if name not in formats.checkers:
                formats.checks(name, raises=raises)(checked)

    return register


def printable(value: str) -> bool:
    return all(c.isprintable() or (c.isspace() and c not in "\n\r\t\v\f") for c in value)


@_format("uuid")
def _uuid(value: str) -> None:
    UUID(value)


@_format("ipv4")
def _ipv4(value: str) -> None:
    IPv4Address(value)


@_format("ipv6")
def _ipv6(value: str) -> None:
    IPv6Address(value)


@_format("base64")
def _base64(value: str) -> None:
    base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)


@_format("date-time")
def _date_time(value: str) -> None:
    parse_time(value)


def _legacy_name(value: str) -> None:
    if not value.strip() or not printable(value):
        raise _BadName("printable characters with at least one non space character")


def _name(value: str) -> None:
    if not value or value != value.strip() or not printable(value):
        raise _BadName("printable characters. Can not start or end with whitespace.")


def _named(formats: FormatChecker, check: Callable[[str], None]) -> None:
    def checked(value: object) -> bool:
        if isinstance(value, str):
            check(value)
        return True

    formats.checks("name", raises=_BadName)(checked)


_named(FORMATS, _name)
_named(LEGACY_FORMATS, _legacy_name)


def parse_time(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
