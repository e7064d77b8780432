"""Leave to fetch an image's bytes: a signed URL for one digest and one cell, until a given time.

Whoever holds the signing keys can sign and check; no request is needed for either.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode

from control.identity.keys import Keys, OpenKey
from schemas.errors import Forbidden

PURPOSE: Final = b"kilonova image grant 1"
"""keeps these signatures apart from all else that the keys sign"""


class Grants:
    def __init__(self, keys: Keys, api_url: str) -> None:
        self._keys = keys
        self._base = f"{api_url}/image/blobs"

    def url(self, digest: str, cell: str, expires: datetime) -> str:
        """For `sha256:<hex>`."""
        name, end = digest.removeprefix("sha256:"), str(int(expires.timestamp()))
        sig = _sign(self._keys.signing(datetime.now(UTC)), name, cell, end)
        return f"{self._base}/{name}?{urlencode({'cell': cell, 'expires': end, 'sig': sig})}"

    def check(self, name: str, cell: str, expires: str, sig: str, now: datetime) -> None:
        """`name` is the digest's hex. Raises Forbidden with what is wrong with the grant."""
        expected = (_sign(key, name, cell, expires) for key in self._keys.verifying())
        if not any(hmac.compare_digest(sig.encode(), e.encode()) for e in expected):
            raise Forbidden("The image grant is not valid.")
        if int(expires) <= now.timestamp():
            raise Forbidden("The image grant has expired.")


@lru_cache(256)
def _sign(key: OpenKey, name: str, cell: str, expires: str) -> str:
    derived = hmac.digest(key.secret, PURPOSE, hashlib.sha256)
    message = "\n".join((name, cell, expires)).encode()
    return urlsafe_b64encode(hmac.digest(derived, message, hashlib.sha256)).decode().rstrip("=")
