"""Error bodies: `{"<fault name>": {"code": N, "message": "..."}}`. A token is refused in Keystone's form instead: with
Nova it is keystonemiddleware that does it."""

from typing import Any, Final

import orjson
import structlog

from schemas.errors import KilonovaError, Unauthorized, fault_name

log = structlog.get_logger()

NOT_FOUND: Final = "The resource could not be found."
NO_TOKEN: Final = "The request you have made requires authentication."
"""... whatever is wrong with the one that was sent"""
RETRY_AFTER_SECONDS: Final = 1

Headers = list[tuple[bytes, bytes]]


def fault(error: Exception, api_url: str) -> tuple[int, bytes, Headers]:
    """Status, body and headers of the answer. An error that nobody foresaw is logged here, once."""
    if isinstance(error, Unauthorized):
        told: dict[str, Any] = {"code": 401, "title": "Unauthorized", "message": NO_TOKEN}
        return (
            401,
            orjson.dumps({"error": told}),
            [(b"www-authenticate", f'Keystone uri="{api_url}/identity"'.encode())],
        )
    if not isinstance(error, KilonovaError) or error.code == 500:
        log.error("unexpected error", exc_info=error)
        return 500, _body(500, _unexpected(error)), []
    headers: Headers = []
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
