"""Bodies and queries of server groups."""

from typing import Any, Final

from control.compute.schemas import common as c
from control.compute.validation import Schemas
from schemas.group import POLICIES

Schema = dict[str, Any]

SOFT_SINCE: Final = 15
ONE_POLICY_SINCE: Final = 64


def _create(version: int) -> Schema:
    allowed = list(POLICIES) if version >= SOFT_SINCE else ["affinity", "anti-affinity"]
    policy: Schema = {"type": "string", "enum": allowed}
    if version >= ONE_POLICY_SINCE:
        rules = c.fields({"max_server_per_host": c.COUNT})
        return c.body("server_group", c.fields({"name": c.NAME, "policy": policy, "rules": rules}, "name", "policy"))
    policies: Schema = {"type": "array", "items": policy, "uniqueItems": True, "minItems": 1, "maxItems": 1}
    return c.body("server_group", c.fields({"name": c.NAME, "policies": policies}, "name", "policies"))


def _list(version: int) -> Schema:
    return c.query({"all_projects": c.ANY, "limit": c.LIMIT, "offset": c.LIMIT}, strict=version >= 75)


CREATE: Final = Schemas(_create, (1, SOFT_SINCE, ONE_POLICY_SINCE))
LIST: Final = Schemas(_list, (1, 75))
