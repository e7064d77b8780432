"""Bodies and queries of key pairs."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import Schemas

Schema = dict[str, Any]


def _create(version: int) -> Schema:
    pair: Schema = {"name": c.NAME, "public_key": {"type": "string"}}
    if version >= 2:
        pair["type"] = {"type": "string", "enum": ["ssh", "x509"]}
    if version >= 10:
        pair["user_id"] = {"type": "string", "minLength": 1, "maxLength": 255}
    return c.body("keypair", c.fields(pair, "name", *(["public_key"] if version >= 92 else [])))


def _of_user(version: int) -> Schema:
    return c.query({"user_id": c.ANY} if version >= 10 else {}, strict=version >= 75)


def _list(version: int) -> Schema:
    user = {"user_id": c.ANY} if version >= 10 else {}
    return c.query({**user, **(c.PAGE if version >= 35 else {})}, strict=version >= 75)


CREATE: Final = Schemas(_create, (1, 2, 10, 92))
OF_USER: Final = Schemas(_of_user, (1, 10, 75))
LIST: Final = Schemas(_list, (1, 10, 35, 75))
