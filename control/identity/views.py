"""Records as Keystone's JSON."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from control.identity.catalog import INTERFACES, SERVICES, Service, endpoint_id
from control.identity.tokens import Standing
from schemas.identity import DOMAIN, DOMAIN_NAME, Project, Role, User

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
    if claims.project is None:
        return {"token": view}
    if standing.project:
        view["project"] = {"domain": DOMAIN_REF, "id": standing.project.id, "name": standing.project.name}
        view["is_domain"] = False
    else:
        view["domain"] = DOMAIN_REF
    view["roles"] = [{"id": role.id, "name": role.name} for role in standing.roles]
    if catalog is not None:
        view["catalog"] = catalog
    return {"token": view}


def user_view(user: User, base: str) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": user.id,
        "name": user.name,
        "domain_id": DOMAIN,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{base}/users/{user.id}"},
    }
    if user.email is not None:
        view["email"] = user.email
    if user.description:
        view["description"] = user.description
    if user.default_project is not None:
        view["default_project_id"] = user.default_project
    return view


def project_view(project: Project, base: str) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "domain_id": DOMAIN,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": DOMAIN,
        "is_domain": False,
        "tags": list(project.tags),
        "options": {},
        "links": {"self": f"{base}/projects/{project.id}"},
    }


def role_view(role: Role, base: str) -> dict[str, Any]:
    return {
        "id": role.id,
        "name": role.name,
        "domain_id": None,
        "description": role.description or None,
        "options": {},
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


def grant_view(user: User, scope: Project | None, role: Role, base: str, *, names: bool) -> dict[str, Any]:
    """`scope` is None for the domain."""
    place = f"projects/{scope.id}" if scope else f"domains/{DOMAIN}"
    where: dict[str, Any] = {"id": scope.id if scope else DOMAIN}
    view: dict[str, Any] = {
        "role": {"id": role.id},
        "user": {"id": user.id},
        "scope": {"project" if scope else "domain": where},
        "links": {"assignment": f"{base}/{place}/users/{user.id}/roles/{role.id}"},
    }
    if names:
        view["role"]["name"] = role.name
        view["user"] |= {"name": user.name, "domain": DOMAIN_REF}
        where["name"] = scope.name if scope else DOMAIN_NAME
        if scope:
            where["domain"] = DOMAIN_REF
    return view


def collection(name: str, views: Iterable[dict[str, Any]], url: str) -> dict[str, Any]:
    return {name: list(views), "links": {"next": None, "self": url, "previous": None}}
