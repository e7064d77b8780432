"""Structured logs: one JSON object a line on stderr, with the ids of what it is about."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from structlog.types import EventDict, WrappedLogger

from schemas.context import REQUEST_ID, TRACEPARENT, trace_id


def configure_logs(role: str, level: str, form: str) -> None:
    def about(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("role", role)
        if request := REQUEST_ID.get():
            event.setdefault("request_id", request)
        if trace := TRACEPARENT.get():
            event.setdefault("trace_id", trace_id(trace))
        return event

    number = logging.getLevelNamesMapping()[level.upper()]
    renderer = structlog.dev.ConsoleRenderer() if form == "console" else structlog.processors.JSONRenderer(_line)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            about,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if form == "json" else structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def _line(event: EventDict, default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(event, default, orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # what orjson does not take, such as half a character of a file's name, is said all the same
        return json.dumps(event, default=default)
