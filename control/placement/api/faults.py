"""Errors as Placement words them: `{"errors": [...]}`, or plain text for a client that takes no JSON."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import orjson
import structlog

from control.placement.api import microversions
from control.placement.api.accept import accepts
from schemas.context import REQUEST_ID
from schemas.errors import KilonovaError

log = structlog.get_logger()

TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
EXPLANATIONS: Final = {
    400: "The server could not comply with the request since it is either malformed or otherwise incorrect.",
    401: "This server could not verify that you are authorized to access the document you requested. Either you "
    "supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the "
    "credentials required.",
    403: "Access was denied to this resource.",
    404: "The resource could not be found.",
    405: "The method {method} is not allowed for this resource.",
    406: "The resource could not be generated that was acceptable to your browser (content of type {accept}.",
    409: "There was a conflict when trying to complete your request.",
    413: "The body of your request was too large for this server.",
    415: "The request media type {content_type} is not supported by this server.",
    500: "The server has either erred or is incapable of performing the requested operation.",
    503: "The server is currently unavailable. Please try again at a later time.",
}
"""webob's, which Placement's clients have always seen before the detail"""

LABELS_SINCE: Final = 23

Fault = tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]


def fault(error: Exception, method: str, headers: Mapping[str, str], version: int | None) -> Fault:
    """Code, body and headers. `version` None: it could not be told."""
    code, detail, label = 500, "The log holds its cause under the request id.", KilonovaError.label
    if isinstance(error, KilonovaError):
        code, detail, label = error.code, error.message, error.label
    if code == 500:
        log.error("unexpected error", exc_info=error)
    code = code if code in TITLES else 500
    accept = headers.get("accept", "").replace("*/*", "")
    explanation = EXPLANATIONS[code].format(
        method=method, accept=accept or "application/json", content_type=headers.get("content-type") or None
    )
    more: tuple[tuple[bytes, bytes], ...] = ((b"retry-after", b"1"),) if code == 503 else ()
    if code == 401:
        more = ((b"www-authenticate", b"Keystone uri='/identity'"),)
    if not accepts(headers.get("accept"), "application/json"):
        return (code, *_page(code, explanation, detail, headers, more))
    said: dict[str, Any] = {
        "status": code,
        "title": TITLES[code],
        "detail": _text(code, explanation, detail),
        "request_id": REQUEST_ID.get(),
    }
    if version is not None and version >= LABELS_SINCE:
        said["code"] = label
    if code == 406:
        said["max_version"] = microversions.text(microversions.MAX)
        said["min_version"] = microversions.text(microversions.MIN)
    return code, orjson.dumps({"errors": [said]}), ((b"content-type", b"application/json"), *more)


def _text(code: int, explanation: str, detail: str) -> str:
    """As webob puts them together, which is not the same for all."""
    detail = detail.replace("\n", " ")
    return f"{explanation} \n\n {detail}" if code in (405, 406, 415) else f"{explanation}\n\n {detail}  "


def _page(
    code: int, explanation: str, detail: str, headers: Mapping[str, str], more: tuple[tuple[bytes, bytes], ...]
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    title = f"{code} {TITLES[code]}"
    if accepts(headers.get("accept"), "text/html"):
        text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{escape(explanation)}<br/><br/>"
        text += f"{escape(detail)}</body></html>"
        return text.encode(), ((b"content-type", b"text/html; charset=UTF-8"), *more)
    return f"{title}\n\n{_text(code, explanation, detail)}".encode(), (
        (b"content-type", b"text/plain; charset=UTF-8"),
        *more,
    )
