"""NATS's side of our credentials: NKeys, and a user with its permissions as nats-server's configuration wants it."""

import os
from pathlib import Path
from typing import Final

import nkeys

from schemas.errors import KilonovaError
from schemas.subjects import Permissions

REPLIES: Final = '{ max: 1, expires: "1m" }'
"""how often, and how long after it came, a request may be answered"""


class NKeyError(KilonovaError):
    """The file is no NKey seed of a user."""


def public_key(seed_file: Path) -> str:
    """Raises NKeyError."""
    try:
        pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
        public: str = pair.public_key.decode()
    except OSError as error:
        raise NKeyError(f"the NKey seed {seed_file} cannot be read: {error.strerror}") from error
    except Exception as error:  # nkeys raises whatever its base32 and ed25519 raise
        raise NKeyError(f"{seed_file} holds no NKey seed: {error!r}") from error
    if not public.startswith("U"):
        raise NKeyError(f"{seed_file} holds the seed of an NKey that is no user's: {public}")
    return public


def make_seed(seed_file: Path) -> str:
    """Makes the file, readable by its owner alone, when there is none; returns the public key."""
    try:
        handle = os.open(seed_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return public_key(seed_file)
    except OSError as error:
        raise NKeyError(f"cannot write {seed_file}: {error.strerror}") from error
    with os.fdopen(handle, "wb") as file:
        file.write(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) + b"\n")
    return public_key(seed_file)


def user_block(nkey: str, permissions: Permissions) -> str:
    """One element of an account's `users` list."""
    return (
        "{\n"
        f"  nkey: {nkey}\n"
        "  permissions: {\n"
        f"    subscribe: {{ allow: {_listed(permissions.subscribe)} }}\n"
        f"    publish: {{ allow: {_listed(permissions.publish)} }}\n"
        f"    allow_responses: {REPLIES}\n"
        "  }\n"
        "}"
    )


def _listed(subjects: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{s}"' for s in subjects) + "]"
