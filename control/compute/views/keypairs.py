"""Key pairs."""

from typing import Any

from control.compute.views.moments import micros
from schemas.flavor import KeyPair

Json = dict[str, Any]


def listed(pair: KeyPair, version: int) -> Json:
    return {"keypair": _brief(pair, version)}


def created(pair: KeyPair, version: int, private_key: str | None) -> Json:
    body = {**_brief(pair, version), "user_id": pair.user}
    return {"keypair": {**body, "private_key": private_key} if private_key else body}


def shown(pair: KeyPair, version: int) -> Json:
    history = {
        "id": number(pair),
        "created_at": micros(pair.created),
        "updated_at": None,
        "deleted_at": None,
        "deleted": False,
        "user_id": pair.user,
    }
    return {"keypair": {**_brief(pair, version), **history}}


def number(pair: KeyPair) -> int:
    """The integer that Nova's answers carry and no request takes."""
    return int(pair.created.timestamp() * 1000) % 2**31


def _brief(pair: KeyPair, version: int) -> Json:
    body: Json = {"name": pair.name, "public_key": pair.public_key, "fingerprint": pair.fingerprint}
    return {**body, "type": pair.type} if version >= 2 else body
