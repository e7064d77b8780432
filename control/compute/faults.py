"""Error bodies: `{"<fault name>": {"code": N, "message": "..."}}`."""

from typing import Final

import orjson
import structlog

from schemas.errors import KilonovaError, Unauthorized, fault_name

log = structlog.get_logger()

NOT_FOUND: Final = "The resource could not be found."
RETRY_AFTER_SECONDS: Final = 1

Headers = list[tuple[bytes, bytes]]


def fault(error: Exception) -> tuple[int, bytes, Headers]:
    """Status, body and headers of the answer. An error that nobody foresaw is logged here, once."""
    if not isinstance(error, KilonovaError) or error.code == 500:
        log.error("unexpected error", exc_info=error)
        return 500, _body(500, _unexpected(error)), []
    headers: Headers = []
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Keystone"))
    if error.code in (413, 429, 503):
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    return error.code, _body(error.code, error.message), headers


def _body(code: int, message: str) -> bytes:
    return orjson.dumps({fault_name(code): {"code": code, "message": message}})


def _unexpected(error: Exception) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return (
        "Unexpected API Error. Please report this to the operators of this cloud with the request id of this answer; "
        f"their log holds the cause under it.\n<class '{name}'>"
    )
