"""JSON of clients is bounded in depth where it is read: what is deeper could be neither logged nor stored."""

import orjson
import pytest

from control.rest.kit.json_body import MAX_DEPTH, MalformedJson, parse_json


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    return (opening * levels + "1" + closing * levels).encode()


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"a":', "}]")])
def test_depth_is_bounded(opening: str, closing: str) -> None:
    """Scheduler hints 251 to 300 levels deep were answered 202, and no process could ever write their operation."""
    per_level = len(closing)
    levels = MAX_DEPTH // per_level
    assert parse_json(nested(levels, opening, closing))
    for many in (levels + 1, 300 // per_level, 1000 // per_level, 100_000):
        with pytest.raises(MalformedJson):
            parse_json(nested(many, opening, closing))


def test_what_is_taken_can_be_written_within_a_record() -> None:
    value = parse_json(nested(MAX_DEPTH))
    for _ in range(20):  # a record, a message and a log line around it
        value = {"around": [value]}
    assert orjson.dumps(value)


def test_brackets_in_strings_are_no_levels() -> None:
    assert parse_json(b'{"name": "' + b"[" * 1000 + b'"}') == {"name": "[" * 1000}


def test_many_values_side_by_side_are_not_deep() -> None:
    assert len(parse_json(b"[" + b",".join([b"[1]"] * 10_000) + b"]")) == 10_000


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b'{"a": NaN}', b'"\\ud800"', b"\xff"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json(text)
