"""Secrets at rest: everything sensitive in etcd is encrypted under the site key, a file that the top's pods share."""

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from schemas.errors import KilonovaError


class SiteKeyError(KilonovaError):
    """The site key is missing, unreadable or not the one that the secret was encrypted under."""


class SiteKey:
    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    @classmethod
    def load(cls, path: str | Path) -> "SiteKey":
        try:
            return cls(Path(path).read_bytes().strip())
        except FileNotFoundError as error:
            raise SiteKeyError(f"no site key at {path}: run kilonova bootstrap, or copy it from a pod") from error
        except (OSError, ValueError) as error:
            raise SiteKeyError(f"the site key at {path} cannot be used: {error}") from error

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

    def encrypt(self, secret: bytes) -> str:
        return self._fernet.encrypt(secret).decode()

    def decrypt(self, sealed: str) -> bytes:
        try:
            return self._fernet.decrypt(sealed.encode())
        except InvalidToken as error:
            raise SiteKeyError("a stored secret is encrypted under another site key") from error
