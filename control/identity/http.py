"""What the handlers of identity and images share: bodies in, JSON out, whom a request speaks for."""

from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from control.identity.claims import REFUSED
from control.rest.kit.json_body import MalformedJson, parse_json
from schemas.errors import BadRequest, TooLarge, Unauthorized

LONGEST_BODY: Final = 1 << 20
"""bytes of JSON; uploads are not read here"""


async def read_body(request: Request) -> bytes:
    """Raises TooLarge when it is no request but a load."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise TooLarge(f"The body is larger than {LONGEST_BODY} bytes.")
    return bytes(body)


async def read_json(request: Request) -> Any:
    """Raises BadRequest when the body is not JSON."""
    try:
        return parse_json(await read_body(request))
    except MalformedJson as error:
        raise BadRequest("Malformed JSON in request body.") from error


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")


def auth_token(request: Request) -> str:
    token = request.headers.get("x-auth-token")
    if not token:
        raise Unauthorized(REFUSED)
    return token
