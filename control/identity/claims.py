"""What a token says, and how it is sealed: authenticated and encrypted (Fernet), with a format number in front."""

import base64
import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import orjson
from attrs import frozen
from cryptography.fernet import Fernet, InvalidToken

from schemas.server import to_us

FORMAT: Final = 1
REFUSED: Final = "The request you have made requires authentication."
"""what everyone hears whose token or password is not good, whatever the cause"""


@frozen
class Claims:
    """`scope` is a project's id, `DOMAIN`, `SYSTEM`, or None when the token is unscoped."""

    user: str
    scope: str | None
    methods: tuple[str, ...]
    issued: datetime
    expires: datetime
    epoch: int
    """the user's when it was issued"""
    audit: tuple[str, ...]
    """its own audit id and, when it was got with another token, that one's"""
    app: str | None = None
    """the application credential that it was got with, by id"""


def fernet(secret: bytes) -> Fernet:
    """For 32 random bytes."""
    return Fernet(base64.urlsafe_b64encode(secret))


def seal(claims: Claims, key: Fernet) -> str:
    parts = [
        FORMAT,
        claims.user,
        claims.scope,
        claims.methods,
        to_us(claims.issued),
        to_us(claims.expires),
        claims.epoch,
        claims.audit,
        claims.app,
    ]
    return key.encrypt(orjson.dumps(parts)).decode().rstrip("=")


def unseal(token: str, keys: Iterable[Fernet]) -> Claims | None:
    """None when none of the keys sealed it, whatever it is."""
    if not token.isascii():
        return None
    padded = token + "=" * (-len(token) % 4)
    for key in keys:
        with contextlib.suppress(InvalidToken):
            return _claims(key.decrypt(padded))
    return None


def _claims(payload: bytes) -> Claims | None:
    parts = orjson.loads(payload)
    if parts[0] != FORMAT:
        return None
    _, user, scope, methods, issued, expires, epoch, audit, app = parts
    return Claims(user, scope, tuple(methods), _moment(issued), _moment(expires), epoch, tuple(audit), app)


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
