"""SSH keys: checked, fingerprinted, made."""

import base64
import hashlib

from attrs import frozen
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from schemas.errors import BadRequest


@frozen
class MadeKey:
    """Both in OpenSSH's forms."""

    public: str
    private: str


def fingerprint(public_key: str) -> str:
    """MD5 over the key's blob, in pairs of digits with colons. Raises BadRequest for what is no key."""
    try:
        blob = base64.b64decode(public_key.split()[1], validate=True)
        load_ssh_public_key(public_key.strip().encode())
    except Exception as error:  # the parser raises more kinds than it names
        raise BadRequest("Keypair data is invalid: failed to generate fingerprint") from error
    digits = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digits[i : i + 2] for i in range(0, 32, 2))


def make_key(comment: str) -> MadeKey:
    """Ed25519: made in microseconds, so on the event loop."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    return MadeKey(f"{public.decode()} {comment}", private.decode())
