"""Ids of images: each is used once, so that who boots a remembered id never gets the bytes of somebody else.

Ids that we make carry a mark: 48 of their bits are a keyed digest of the others. A chosen id with the mark was an
image's before, or is, and is refused: nothing has to be kept of deleted images. Ids that administrators choose are kept
for good, as records.

Source: OSSN-0075. Glance lets anybody choose an id that is free; here only administrators may.
"""

import hashlib
import hmac
import secrets
from typing import Final
from uuid import UUID

from attrs import field, frozen

_MARKED: Final = 10
"""bytes that the mark is made of; the other six are the mark"""


@frozen
class ImageIds:
    key: bytes = field(repr=False)

    def new(self) -> str:
        drawn = UUID(bytes=secrets.token_bytes(16), version=4).bytes[:_MARKED]
        return str(UUID(bytes=drawn + self._mark(drawn)))

    def has_mark(self, image_id: str) -> bool:
        """Whether `new` made it."""
        whole = UUID(image_id).bytes
        return hmac.compare_digest(whole[_MARKED:], self._mark(whole[:_MARKED]))

    def _mark(self, drawn: bytes) -> bytes:
        return hmac.digest(self.key, drawn, hashlib.sha256)[: 16 - _MARKED]
