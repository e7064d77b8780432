"""Projects that a request names: the identity service has to know them."""

from control.compute.call import Call
from kv.keys import Global
from schemas.errors import BadRequest


async def check_project_known(call: Call, project: str) -> None:
    """Raises BadRequest, as Nova does after it asked Keystone. The asker's own is known from the token."""
    if project != call.identity.project and await call.top.store.get(Global.IDENTITY_PROJECTS(project)) is None:
        raise BadRequest(f"Project ID {project} is not a valid project.")
