"""Structured logs: one JSON object a line on stderr, with the ids of what it is about.

A line is bounded in length, and an event in how many lines a second it may write: a fault that repeats itself, or that
a client provokes with each request, must not fill a disk or keep the event loop busy. Tracebacks hold no local
variables, which are where passwords, tokens and keys would be.
"""

import json
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import structlog
from attrs import define, field
from structlog.tracebacks import ExceptionDictTransformer
from structlog.types import EventDict, Processor, WrappedLogger

from schemas.context import REQUEST_ID, TRACEPARENT, trace_id

LONGEST_LINE: Final = 16384
"""bytes"""
LONGEST_VALUE: Final = 2048
"""characters of one value of a line that is too long"""
FRAMES: Final = 20
"""innermost frames of a traceback"""
LINES_A_SECOND: Final = 50
"""of one event at a level above debug, on average over ALLOWANCE_SECONDS"""
ALLOWANCE_SECONDS: Final = 10
MANY: Final = frozenset(
    {
        *("request", "operation step", "server forgotten", "build taken back", "no valid host"),
        *("host mapped", "host registered", "registered"),
    }
)
"""Events of which a busy process rightly writes more: one for each piece of work that was asked of it"""


def configure_logs(role: str, level: str, form: str) -> None:
    def about(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("role", role)
        if request := REQUEST_ID.get():
            event.setdefault("request_id", request)
        if trace := TRACEPARENT.get():
            event.setdefault("trace_id", trace_id(trace))
        return event

    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            RateLimit(),
            structlog.contextvars.merge_contextvars,
            about,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_rendering(form),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.addFilter(LibraryRateLimit())
    logging.basicConfig(level=logging.WARNING, handlers=[libraries], format="%(levelname)s %(name)s %(message)s")


def _rendering(form: str) -> list[Processor]:
    if form == "console":
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    tracebacks = ExceptionDictTransformer(show_locals=False, max_frames=FRAMES)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer(_line)]


@define(eq=False)
class RateLimit:
    """Drops lines of an event that writes more than LINES_A_SECOND; the first line after that says how many."""

    clock: Callable[[], float] = time.monotonic
    _written: dict[str, deque[float]] = field(factory=dict, init=False)
    """by event: when its last lines were written"""
    _dropped: dict[str, int] = field(factory=dict, init=False)

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Raises DropEvent."""
        name = str(event.get("event"))[:LONGEST_VALUE]
        if method == "debug" or name in MANY:
            return event
        now = self.clock()
        written = self._written.get(name)
        if written is None:
            written = self._written[name] = deque(maxlen=LINES_A_SECOND * ALLOWANCE_SECONDS)
        if len(written) == written.maxlen and now - written[0] < ALLOWANCE_SECONDS:
            self._dropped[name] = self._dropped.get(name, 0) + 1
            raise structlog.DropEvent
        written.append(now)
        if dropped := self._dropped.pop(name, 0):
            event["dropped_before"] = dropped
        return event


class LibraryRateLimit(logging.Filter):
    """The same for what libraries log: uvicorn writes a line for each malformed request."""

    def __init__(self, limit: RateLimit | None = None) -> None:
        super().__init__()
        self._limit = limit or RateLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            self._limit(None, record.levelname.lower(), {"event": f"{record.name} {record.msg}"[:LONGEST_VALUE]})
        except structlog.DropEvent:
            return False
        return True


def _line(event: EventDict, default: Callable[[Any], Any]) -> str:
    line = _encoded(event, default)
    if len(line) <= LONGEST_LINE:
        return line
    short = {key: _shortened(value, default) for key, value in event.items()}
    line = _encoded({**short, "shortened_from": len(line)}, default)
    if len(line) <= LONGEST_LINE:
        return line
    kept = {key: event[key] for key in ("event", "level", "timestamp", "role", "request_id") if key in event}
    return _encoded({key: str(value)[:LONGEST_VALUE] for key, value in kept.items()}, default)


def _encoded(event: Mapping[str, Any], default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(event, default, orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # what orjson does not take, such as half a character of a file's name, is said all the same
        return json.dumps(event, default=default)


def _shortened(value: object, default: Callable[[Any], Any]) -> object:
    text = value if isinstance(value, str) else _encoded({"": value}, default)
    if len(text) <= LONGEST_VALUE:
        return value
    return f"{text[: LONGEST_VALUE // 2]} ... {text[-LONGEST_VALUE // 2 :]}"
