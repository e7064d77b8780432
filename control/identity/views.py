"""Records as Keystone's JSON."""

from datetime import datetime
from typing import Any, Final

from control.identity.catalog import INTERFACES, SERVICES, Service, endpoint_id
from control.identity.tokens import Standing
from schemas.identity import DOMAIN, DOMAIN_NAME, SYSTEM, AppCredential, Project, Role, User

DOMAIN_REF: Final = {"id": DOMAIN, "name": DOMAIN_NAME}


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def token_view(standing: Standing, catalog: list[dict[str, Any]] | None) -> dict[str, Any]:
    claims, user = standing.claims, standing.user
    view: dict[str, Any] = {
        "methods": list(claims.methods),
        "user": {"domain": DOMAIN_REF, "id": user.id, "name": user.name, "password_expires_at": None},
        "audit_ids": list(claims.audit),
        "expires_at": instant(claims.expires),
        "issued_at": instant(claims.issued),
    }
    if standing.app:
        app = standing.app
        view["application_credential"] = {"id": app.id, "name": app.name, "restricted": not app.unrestricted}
    if claims.scope is None:
        return {"token": view}
    if standing.project:
        view["project"] = {"domain": DOMAIN_REF, "id": standing.project.id, "name": standing.project.name}
        view["is_domain"] = False
    elif standing.is_system:
        view["system"] = {"all": True}
    else:
        view["domain"] = DOMAIN_REF
    view["roles"] = [{"id": role.id, "name": role.name} for role in standing.roles]
    if catalog is not None:
        view["catalog"] = catalog
    return {"token": view}


def user_view(user: User, base: str) -> dict[str, Any]:
    view: dict[str, Any] = {
        **user.extra,
        "id": user.id,
        "name": user.name,
        "domain_id": DOMAIN,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": user.options,
        "links": {"self": f"{base}/users/{user.id}"},
    }
    if user.default_project is not None:
        view["default_project_id"] = user.default_project
    return view


def project_view(project: Project, base: str) -> dict[str, Any]:
    return {
        **project.extra,
        "id": project.id,
        "name": project.name,
        "domain_id": DOMAIN,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": project.parent,
        "is_domain": False,
        "tags": list(project.tags),
        "options": project.options,
        "links": {"self": f"{base}/projects/{project.id}"},
    }


def domain_project_view(base: str) -> dict[str, Any]:
    """The domain as the project that Keystone also takes it for."""
    return {
        **domain_view(base),
        "domain_id": None,
        "parent_id": None,
        "is_domain": True,
        "links": {"self": f"{base}/projects/{DOMAIN}"},
    }


def role_view(role: Role, base: str) -> dict[str, Any]:
    return {
        **role.extra,
        "id": role.id,
        "name": role.name,
        "domain_id": None,
        "description": role.description or None,
        "options": role.options,
        "links": {"self": f"{base}/roles/{role.id}"},
    }


def domain_view(base: str) -> dict[str, Any]:
    return {
        "id": DOMAIN,
        "name": DOMAIN_NAME,
        "description": "The default domain",
        "enabled": True,
        "tags": [],
        "options": {},
        "links": {"self": f"{base}/domains/{DOMAIN}"},
    }


def region_view(region: str, base: str) -> dict[str, Any]:
    return {
        "id": region,
        "description": "",
        "parent_region_id": None,
        "links": {"self": f"{base}/regions/{region}"},
    }


def service_view(service: Service, base: str) -> dict[str, Any]:
    return {
        "id": service.id,
        "type": service.type,
        "name": service.name,
        "description": service.description,
        "enabled": True,
        "links": {"self": f"{base}/services/{service.id}"},
    }


def endpoint_views(api_url: str, region: str, base: str) -> list[dict[str, Any]]:
    return [
        {
            "id": (id_ := endpoint_id(service, interface, region)),
            "interface": interface,
            "region": region,
            "region_id": region,
            "service_id": service.id,
            "url": api_url + service.path,
            "enabled": True,
            "links": {"self": f"{base}/endpoints/{id_}"},
        }
        for service in SERVICES
        for interface in INTERFACES
    ]


def app_credential_view(app: AppCredential, roles: list[Role], base: str) -> dict[str, Any]:
    """Without its secret."""
    return {
        "id": app.id,
        "name": app.name,
        "description": app.description,
        "user_id": app.user,
        "project_id": app.project,
        "roles": [{"id": role.id, "name": role.name, "domain_id": None, "description": role.description or None,
                   "options": {}} for role in roles],
        "expires_at": app.expires.strftime("%Y-%m-%dT%H:%M:%S.%f") if app.expires else None,
        "unrestricted": app.unrestricted,
        "links": {"self": f"{base}/users/{app.user}/application_credentials/{app.id}"},
    }  # fmt: skip


def inference_view(prior: Role, implied: list[Role], base: str) -> dict[str, Any]:
    """What a role brings with it."""
    return {"prior_role": _role_link(prior, base), "implies": [_role_link(role, base) for role in implied]}


def _role_link(role: Role, base: str) -> dict[str, Any]:
    return {"id": role.id, "name": role.name, "links": {"self": f"{base}/roles/{role.id}"}}


def grant_view(user: User, scope: Project | str, role: Role, prior: Role, base: str, *, names: bool) -> dict[str, Any]:
    """`scope` is a project, the domain or the system; `prior` is the granted role that brings `role`, or `role`."""
    place, where, named = _place(scope)
    view: dict[str, Any] = {
        "role": {"id": role.id},
        "user": {"id": user.id},
        "scope": where,
        "links": {"assignment": f"{base}/{place}/users/{user.id}/roles/{prior.id}"},
    }
    if prior != role:
        view["links"]["prior_role"] = f"{base}/prior_roles/{prior.id}"
    if names:
        view["role"]["name"] = role.name
        view["user"] |= {"name": user.name, "domain": DOMAIN_REF}
        view["scope"] = named
    return view


def _place(scope: Project | str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Its path, and how it is shown by id and by name."""
    if isinstance(scope, Project):
        named = {"id": scope.id, "name": scope.name, "domain": DOMAIN_REF}
        return f"projects/{scope.id}", {"project": {"id": scope.id}}, {"project": named}
    if scope == SYSTEM:
        return "system", {"system": {"all": True}}, {"system": {"all": True}}
    return f"domains/{DOMAIN}", {"domain": {"id": DOMAIN}}, {"domain": DOMAIN_REF}
