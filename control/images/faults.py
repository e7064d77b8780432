"""Glance's error bodies: JSON for those who ask for it, HTML for those who take it, else plain text."""

from html import escape
from http import HTTPStatus
from typing import Final

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from control.images.patch import MEDIA_TYPES
from schemas.errors import KilonovaError, TooManyRequests

log = structlog.get_logger()

ROUTING_TEXTS: Final = {
    404: "The resource could not be found.",
    405: "The method specified is not allowed for this resource.",
}
UNVERIFIED: Final = (
    "This server could not verify that you are authorized to access the document you requested. Either you supplied "
    "the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials "
    "required."
)


def error_answer(request: Request, error: Exception, api_url: str) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        code, message = error.status_code, ROUTING_TEXTS.get(error.status_code, error.detail)
    elif isinstance(error, KilonovaError) and error.code != 500:
        code, message = error.code, error.message
    else:
        log.error("unexpected error", exc_info=error)
        code, message = 500, "The server has either erred or is incapable of performing the requested operation."
    if code == 401:
        message = UNVERIFIED
        headers["WWW-Authenticate"] = f'Keystone uri="{api_url}/identity"'
    if code == 415:
        headers["Accept-Patch"] = ", ".join(MEDIA_TYPES)
    if code == 503:
        headers["Retry-After"] = "1"
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    content, media = _body(request.headers.get("accept", ""), code, message)
    return Response(content, code, headers, media)


def _body(accept: str, code: int, message: str) -> tuple[bytes, str]:
    title = HTTPStatus(code).phrase
    status = f"{code} {title}"
    if "application/json" in accept:
        body = {"message": f"{message}<br /><br />\n\n\n", "code": status, "title": title}
        return orjson.dumps(body), "application/json"
    if "text/html" in accept or "*/*" in accept or not accept:
        html = (
            f"<html>\n <head>\n  <title>{status}</title>\n </head>\n <body>\n  <h1>{status}</h1>\n"
            f"  {escape(message)}<br /><br />\n\n\n </body>\n</html>"
        )
        return html.encode(), "text/html"
    return f"{status}\n\n{message}\n\n\n".encode(), "text/plain"
