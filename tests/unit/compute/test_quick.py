"""The quick yes of a schema is never wrong: jsonschema accepts the same value."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.compute.operations import OPERATIONS
from control.compute.quick import accepting
from control.compute.schemas import servers
from control.compute.validation import FORMATS, Validator, _strict
from schemas.errors import BadRequest

STRINGS = ("", "x", " x", "auto", "none", "AUTO", "true", "1", "-1", "HARD", "192.0.2.1", "::1", "a,b", "x" * 300)
WORDS = st.sampled_from([*STRINGS, "5f2a2b1e-0000-4000-8000-000000000001", "eA==", "2026-01-01T00:00:00Z"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([0.5, 1.0]), WORDS)
KEYS = st.sampled_from([*servers.CREATE.schema(85)["properties"]["server"]["properties"], "more", "uuid"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
SCHEMAS = [s.schema(85) for o in OPERATIONS if not o.until for s in (o.body, o.query) if s]
BOTH = [(s, accepting(s, FORMATS), _strict()(s, format_checker=FORMATS)) for s in SCHEMAS]


def tops(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Objects with the schema's own keys, so that some are accepted."""
    keys = sorted(schema.get("properties", {})) or ["x"]
    inner = VALUES | st.dictionaries(KEYS, VALUES, max_size=4)
    return VALUES | st.dictionaries(st.sampled_from(keys), inner, max_size=3)


@given(data=st.data(), which=st.integers(0, len(BOTH) - 1))
@settings(max_examples=300, deadline=None)
def test_what_is_accepted_quickly_is_accepted(data: st.DataObject, which: int) -> None:
    schema, accepts, validator = BOTH[which]
    value = data.draw(tops(schema))
    if accepts(value):
        assert validator.is_valid(value)


PLAIN: list[tuple[Any, dict[str, Any], bool]] = [
    ({"name": "x", "flavorRef": "1"}, {}, True),
    ({"name": "x", "flavorRef": 1, "min_count": "2"}, {}, True),
    ({"name": "x", "flavorRef": "1", "imageRef": ""}, {}, True),
    ({"name": "x", "flavorRef": "1", "more": 1}, {}, False),
    ({"name": "x"}, {}, False),
    ({"name": "x", "flavorRef": "1", "metadata": {"a": "b"}}, {}, True),
    ({"name": "x", "flavorRef": "1", "metadata": {"a": 1}}, {}, False),
    ({"name": "x", "flavorRef": "1", "networks": [{"uuid": "anything"}]}, {}, True),
    ({"name": "x", "flavorRef": "1", "config_drive": 1}, {}, False),
]


@pytest.mark.parametrize(("server", "more", "accepted"), PLAIN)
def test_plain_creates(server: Any, more: dict[str, Any], accepted: bool) -> None:
    assert accepting(servers.CREATE.schema(1), FORMATS)({"server": server, **more}) is accepted


@pytest.mark.parametrize(
    ("value", "accepted"),
    [(0, False), (1, True), ("0", False), ("1", True), ("9" * 400, False), ("-" + "9" * 5000, False), ("", False)],
)
def test_limits_hold_for_numbers_in_strings(value: Any, accepted: bool) -> None:
    """A string of a thousand digits was once a number that nothing could store."""
    schema = {"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "minimum": 1, "maximum": 100}
    assert accepting(schema, FORMATS)(value) is accepted
    body = {"type": "object", "properties": {"n": schema}}
    if not accepted:
        with pytest.raises(BadRequest, match=r"Invalid input for field/attribute n\. Value: "):
            Validator(body).check_body({"n": value})


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(ValueError, match="allOf is not supported"):
        accepting({"allOf": []}, FORMATS)
