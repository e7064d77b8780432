"""A quick yes for values that a JSON Schema accepts, compiled to closures; everything else goes to jsonschema, which
takes ten times as long and writes the texts.

The yes must be right; a value that is refused here may still be fine. Only the keywords that our schemas use exist.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from jsonschema import FormatChecker

Schema = Mapping[str, Any]
Test = Callable[[Any], bool]


def accepting(schema: Schema, formats: FormatChecker) -> Test:
    """Raises ValueError for a keyword that it does not know."""
    tests: list[Test] = []
    for keyword, value in schema.items():
        if keyword not in _KEYWORDS:
            raise ValueError(f"{keyword} is not supported")
        made = _KEYWORDS[keyword](value, schema, formats)
        if made is not None:
            tests.append(made)

    if len(tests) == 1:
        return tests[0]

    def accepts(value: Any) -> bool:
        for test in tests:  # noqa: SIM110  # a generator would cost as much as the tests
            if not test(value):
                return False
        return True

    return accepts


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: Final[dict[str, Test]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": _integer,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}


def _type(names: str | list[str], _: Schema, __: FormatChecker) -> Test:
    tests = [_TYPES[name] for name in ([names] if isinstance(names, str) else names)]
    return tests[0] if len(tests) == 1 else lambda v: any(test(v) for test in tests)


def _enum(values: list[Any], _: Schema, __: FormatChecker) -> Test:
    known = frozenset((type(v), v) for v in values)
    return lambda v: isinstance(v, str | bool | int) and (type(v), v) in known


def _of_strings(check: Callable[[str], bool]) -> Test:
    return lambda v: not isinstance(v, str) or check(v)


def as_number(value: Any) -> float | None:
    """A number, also one that is written as a string of digits; None for anything else. One of more digits than any
    limit has counts as infinite."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            return None
        return int(value) if len(value) <= LONGEST_NUMBER else float("-inf" if value[0] == "-" else "inf")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


_DIGITS: Final = re.compile(r"-?[0-9]+", re.ASCII)
LONGEST_NUMBER: Final = 30


def _of_numbers(check: Callable[[float], bool]) -> Test:
    """Limits hold for numbers in strings as well, as in Nova."""

    def test(value: Any) -> bool:
        number = as_number(value)
        return number is None or check(number)

    return test


def _of_lists(check: Callable[[list[Any]], bool]) -> Test:
    return lambda v: not isinstance(v, list) or check(v)


def _of_objects(check: Callable[[dict[str, Any]], bool]) -> Test:
    return lambda v: not isinstance(v, dict) or check(v)


def _pattern(pattern: str, _: Schema, __: FormatChecker) -> Test:
    search = re.compile(pattern).search
    return _of_strings(lambda v: search(v) is not None)


def _format(name: str, _: Schema, formats: FormatChecker) -> Test:
    check, raises = formats.checkers[name]

    def conforms(value: Any) -> bool:
        try:
            return bool(check(value))
        except raises:
            return False

    return conforms


def _properties(properties: Schema, _: Schema, formats: FormatChecker) -> Test:
    tests = {name: accepting(inner, formats) for name, inner in properties.items()}

    def check(value: dict[str, Any]) -> bool:
        for name, inner in value.items():
            test = tests.get(name)
            if test is not None and not test(inner):
                return False
        return True

    return _of_objects(check)


def _pattern_properties(patterns: Schema, _: Schema, formats: FormatChecker) -> Test | None:
    tests = [(re.compile(p).search, accepting(inner, formats)) for p, inner in patterns.items()]
    if not tests:
        return None
    return _of_objects(lambda v: all(test(i) for search, test in tests for k, i in v.items() if search(k)))


def _additional(allowed: bool, schema: Schema, _: FormatChecker) -> Test | None:
    if allowed:
        return None
    known = frozenset(schema.get("properties", ()))
    searches = [re.compile(p).search for p in schema.get("patternProperties", ())]
    return _of_objects(lambda v: all(k in known or any(search(k) for search in searches) for k in v))


def _items(inner: Schema, _: Schema, formats: FormatChecker) -> Test:
    test = accepting(inner, formats)
    return _of_lists(lambda v: all(test(item) for item in v))


def _any_of(choices: list[Schema], _: Schema, formats: FormatChecker) -> Test:
    tests = [accepting(choice, formats) for choice in choices]
    return lambda v: any(test(v) for test in tests)


_KEYWORDS: Final[dict[str, Callable[[Any, Schema, FormatChecker], Test | None]]] = {
    "type": _type,
    "enum": _enum,
    "minLength": lambda n, *_: _of_strings(lambda v: len(v) >= n),
    "maxLength": lambda n, *_: _of_strings(lambda v: len(v) <= n),
    "pattern": _pattern,
    "format": _format,
    "minimum": lambda n, *_: _of_numbers(lambda v: v >= n),
    "maximum": lambda n, *_: _of_numbers(lambda v: v <= n),
    "exclusiveMinimum": lambda n, *_: _of_numbers(lambda v: v > n),
    "items": _items,
    "minItems": lambda n, *_: _of_lists(lambda v: len(v) >= n),
    "maxItems": lambda n, *_: _of_lists(lambda v: len(v) <= n),
    "uniqueItems": lambda unique, *_: _of_lists(lambda v: not unique or len(v) <= 1),
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "required": lambda names, *_: _of_objects(lambda v: all(name in v for name in names)),
    "minProperties": lambda n, *_: _of_objects(lambda v: len(v) >= n),
    "maxProperties": lambda n, *_: _of_objects(lambda v: len(v) <= n),
    "anyOf": _any_of,
}
