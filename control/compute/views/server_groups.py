"""Server groups as the API shows them."""

from typing import Any, Final

from schemas.group import ServerGroup

Json = dict[str, Any]

OWNERS_SINCE: Final = 13
ONE_POLICY_SINCE: Final = 64


def group(group: ServerGroup, version: int) -> Json:
    body: Json = {"id": group.uuid, "name": group.name, "members": list(group.members)}
    if version >= OWNERS_SINCE:
        body |= {"project_id": group.project, "user_id": group.user}
    if version < ONE_POLICY_SINCE:
        return {**body, "policies": [group.policy], "metadata": {}}
    limit = group.max_server_per_host
    return {**body, "policy": group.policy, "rules": {} if limit is None else {"max_server_per_host": limit}}
