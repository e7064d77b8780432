"""Secrets at rest: everything sensitive in etcd is encrypted under the site key, a file that the top's pods share. What
a cell's conductors have to read is encrypted under the cell's key, which follows from the site key but not the reverse.
"""

import base64
import hmac
import os
from pathlib import Path
from typing import ClassVar, Self

from cryptography.fernet import Fernet, InvalidToken

from schemas.errors import KilonovaError


class SiteKeyError(KilonovaError):
    """The site key is missing, unreadable or not the one that the secret was encrypted under."""


class Key:
    """One that encrypts and decrypts."""

    kind: ClassVar[str] = "key"

    def __init__(self, key: bytes) -> None:
        self._bytes = key
        self._fernet = Fernet(key)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        try:
            return cls(Path(path).read_bytes().strip())
        except FileNotFoundError as error:
            raise SiteKeyError(f"no {cls.kind} at {path}: run kilonova bootstrap, or copy it from a pod") from error
        except (OSError, ValueError) as error:
            raise SiteKeyError(f"the {cls.kind} at {path} cannot be used: {error}") from error

    def encrypt(self, secret: bytes) -> str:
        return self._fernet.encrypt(secret).decode()

    def decrypt(self, sealed: str) -> bytes:
        try:
            return self._fernet.decrypt(sealed.encode())
        except InvalidToken as error:
            raise SiteKeyError(f"a stored secret is encrypted under another {self.kind}") from error


def resealed(secret: str | None, under: Key, to: Key) -> str | None:
    """The same secret, encrypted under another key."""
    return secret and to.encrypt(under.decrypt(secret))


class CellKey(Key):
    kind = "cell key"

    def save(self, path: str | Path) -> None:
        """Readable by its owner only."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(self._bytes)


class SiteKey(Key):
    kind = "site key"

    def of_cell(self, name: str) -> CellKey:
        """The key of a cell: who has it can make neither the site's nor another cell's of it."""
        return CellKey(base64.urlsafe_b64encode(hmac.digest(self._bytes, f"cell/{name}".encode(), "sha256")))

    def derived(self, purpose: str) -> bytes:
        """32 bytes for one purpose, which tell nothing of the key."""
        return hmac.digest(self._bytes, f"for/{purpose}".encode(), "sha256")

    @classmethod
    def load_or_make(cls, path: str | Path) -> "SiteKey":
        """Makes the file, readable by its owner only, when there is none."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls.load(path)
        with os.fdopen(handle, "wb") as file:
            file.write(Fernet.generate_key())
        return cls.load(path)
