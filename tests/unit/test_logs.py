"""What may not happen to logs: secrets in them, lines without end, lines without number."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from runtime.logs import (
    ALLOWANCE_SECONDS,
    LINES_A_SECOND,
    LONGEST_LINE,
    LibraryRateLimit,
    RateLimit,
    configure_logs,
)


@pytest.fixture(params=["json", "console"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers, before = logging.getLogger().handlers[:], structlog.get_config()
    configure_logs("test", "debug", request.param)
    yield stream
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


def _fail(admin_password: str, deep: Any) -> None:
    raise ValueError("it failed")


def test_a_traceback_holds_no_local_variables(written: io.StringIO) -> None:
    """An unexpected error in a create logged every frame's variables: adminPass, the token, the signing key."""
    log, secret = structlog.get_logger(), "-".join(("planted", "password"))  # not as it stands in this file's lines
    try:
        _fail(secret, {"also": secret})
    except ValueError:
        log.exception("unexpected error")
    text = written.getvalue()
    assert "it failed" in text
    assert "_fail" in text  # the frame is there, its variables are not
    assert secret not in text


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_a_line_is_bounded_and_still_says_what_happened(written: io.StringIO) -> None:
    """A body nested 300 levels deep was logged with its traceback: one line of 8.6 MB."""
    log = structlog.get_logger()
    log.error("unexpected error", reason="x" * 1_000_000, nested=[{"key": "y" * 100_000}], small=1)
    (line,) = written.getvalue().splitlines()
    assert len(line) <= LONGEST_LINE
    said = json.loads(line)
    assert said["event"] == "unexpected error"
    assert said["small"] == 1
    assert said["shortened_from"] > 1_000_000
    assert said["reason"].startswith("xxx")


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_a_line_of_very_many_values_is_bounded_too(written: io.StringIO) -> None:
    structlog.get_logger().error("unexpected error", **{f"value{n}": "x" * 1000 for n in range(1000)})
    (line,) = written.getvalue().splitlines()
    assert len(line) <= LONGEST_LINE
    assert json.loads(line)["event"] == "unexpected error"


def test_an_event_that_repeats_itself_is_dropped_and_counted() -> None:
    """One operation that could not be encoded wrote 164 MB of log a minute."""
    now = 0.0
    limit = RateLimit(lambda: now)
    most = LINES_A_SECOND * ALLOWANCE_SECONDS

    def write(event: str = "operation waits") -> dict[str, Any] | None:
        try:
            return dict(limit(None, "warning", {"event": event}))
        except structlog.DropEvent:
            return None

    assert all(write() for _ in range(most))
    assert not any(write() for _ in range(1000))
    assert write("another event")
    now = ALLOWANCE_SECONDS + 0.1
    assert write() == {"event": "operation waits", "dropped_before": 1000}
    assert write() == {"event": "operation waits"}


def test_each_request_has_its_line_however_many_there_are() -> None:
    limit = RateLimit(lambda: 0.0)
    assert all(limit(None, "info", {"event": "request"}) for _ in range(10_000))


def test_what_libraries_log_is_bounded_too() -> None:
    """uvicorn writes a line for each malformed request, which any client can send without end."""
    limit = LibraryRateLimit(RateLimit(lambda: 0.0))
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid HTTP request received.", None, None)
    passed = sum(limit.filter(record) for _ in range(10_000))
    assert passed == LINES_A_SECOND * ALLOWANCE_SECONDS
