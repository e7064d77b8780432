"""Values that fit a JSON Schema, or nearly: for tests that throw them at an API. Only the keywords of our schemas."""

from random import Random
from typing import Any

Schema = dict[str, Any]

ODD = (
    None,
    True,
    -1,
    0,
    2**31,
    1.5,
    "",
    " ",
    "x" * 300,
    "\u00e4\u0000\U0001f600",
    [],
    {},
    [None],
    {"": None},
    "9" * 50,
)
WORDS = ("auto", "none", "1", "web", "a-b", "192.0.2.1", "::1", "eA==", "5f2a2b1e-0000-4000-8000-000000000001", "AUTO")
MOMENTS = ("2026-01-01T00:00:00Z", "2026-01-01 00:00:00")


def example(schema: Schema, random: Random, wild: float = 0.05) -> Any:
    """`wild`: how often some part is anything at all."""
    if random.random() < wild:
        return random.choice(ODD)
    if "anyOf" in schema:
        rest = {k: v for k, v in schema.items() if k != "anyOf"}
        return example({**rest, **random.choice(schema["anyOf"])}, random, wild)
    if "enum" in schema:
        return random.choice(schema["enum"])
    names = schema.get("type", "object" if "properties" in schema else random.choice(["null", "string"]))
    return _MAKERS[random.choice(names) if isinstance(names, list) else names](schema, random, wild)


def _object(schema: Schema, random: Random, wild: float) -> Any:
    required = set(schema.get("required", ()))
    made = {
        name: example(inner, random, wild)
        for name, inner in schema.get("properties", {}).items()
        if name in required or random.random() < 0.4
    }
    for inner in schema.get("patternProperties", {}).values():
        made |= {random.choice(WORDS): example(inner, random, wild) for _ in range(random.randint(0, 2))}
    return made | ({"unheard": 1} if random.random() < wild else {})


def _array(schema: Schema, random: Random, wild: float) -> Any:
    return [example(schema.get("items", {}), random, wild) for _ in range(random.randint(0, 2))]


def _string(schema: Schema, random: Random, wild: float) -> Any:
    if "0-9]" in schema.get("pattern", "") and "a-z" not in schema["pattern"]:
        return str(random.choice([-1, 0, 1, 2, 7, 10**12]))
    return random.choice(MOMENTS if schema.get("format") == "date-time" else WORDS)


def _number(schema: Schema, random: Random, _: float) -> Any:
    return random.choice([schema.get("minimum", -1), 0, 1, 2, schema.get("maximum", 2**40)])


_MAKERS = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}
