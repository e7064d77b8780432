"""Who may do what: Keystone's rule names and defaults, with the personas of its secure RBAC.

An admin of any scope may all; a reader of the system sees all; readers and managers of the domain see and manage what
is in it; everyone sees what is one's own.
"""

from typing import Any, Final

from control.identity.tokens import Standing
from control.rules import Rules
from schemas.errors import Forbidden
from schemas.identity import DOMAIN, Project, User

_ADMIN: Final = "rule:admin_required"
_SYSTEM_READER: Final = "(role:reader and system_scope:all)"
_READS: Final = f"{_ADMIN} or {_SYSTEM_READER}"
_USER_DOMAIN: Final = "domain_id:%(target.user.domain_id)s"
_PROJECT_DOMAIN: Final = "domain_id:%(target.project.domain_id)s"
_SEE_USER: Final = f"{_READS} or (role:reader and {_USER_DOMAIN}) or user_id:%(target.user.id)s"
_MANAGE_USER: Final = f"{_ADMIN} or (role:manager and {_USER_DOMAIN})"
_SEE_PROJECT: Final = f"{_READS} or (role:reader and {_PROJECT_DOMAIN}) or project_id:%(target.project.id)s"
_MANAGE_PROJECT: Final = f"{_ADMIN} or (role:manager and {_PROJECT_DOMAIN})"
_SEE_DOMAIN: Final = f"{_READS} or (role:reader and domain_id:%(target.domain_id)s)"
_SEE_ROLES: Final = f"{_READS} or (role:manager and not domain_id:None)"
_GRANT_PLACE: Final = f"({_PROJECT_DOMAIN} or domain_id:%(target.domain.id)s)"
_SEE_GRANTS: Final = f"{_READS} or (role:reader and {_USER_DOMAIN} and {_GRANT_PLACE})"
_MANAGE_GRANTS: Final = (
    f"{_ADMIN} or (role:manager and {_USER_DOMAIN} and {_GRANT_PLACE} and rule:domain_managed_target_role)"
)
_SEE_OWN: Final = f"{_READS} or rule:owner"

DEFAULTS: Final[dict[str, str]] = {
    "admin_required": "role:admin or is_admin:1",
    "service_role": "role:service",
    "service_or_admin": "rule:admin_required or rule:service_role",
    "owner": "user_id:%(user_id)s",
    "admin_or_owner": "rule:admin_required or rule:owner",
    "token_subject": "user_id:%(target.token.user_id)s",
    "admin_or_token_subject": "rule:admin_required or rule:token_subject",
    "service_admin_or_token_subject": "rule:service_or_admin or rule:token_subject",
    "domain_managed_target_role": (
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s"
    ),
    "identity:check_token": f"{_READS} or rule:token_subject",
    "identity:validate_token": f"{_READS} or rule:service_role or rule:token_subject",
    "identity:revoke_token": f"{_ADMIN} or rule:token_subject",
    **dict.fromkeys(
        (
            "identity:get_auth_catalog",
            "identity:get_auth_projects",
            "identity:get_auth_domains",
            "identity:get_auth_system",
            "identity:get_region",
            "identity:list_regions",
            "identity:get_limit_model",
            "identity:get_registered_limit",
            "identity:list_registered_limits",
            "identity:list_limits",
        ),
        "",
    ),
    "identity:get_user": _SEE_USER,
    "identity:list_users": _SEE_DOMAIN,
    "identity:create_user": _MANAGE_USER,
    "identity:update_user": _MANAGE_USER,
    "identity:delete_user": _MANAGE_USER,
    "identity:list_user_projects": _SEE_USER,
    "identity:list_groups_for_user": _SEE_USER,
    "identity:get_group": _READS,
    "identity:list_groups": _SEE_DOMAIN,
    "identity:create_group": _ADMIN,
    "identity:get_application_credential": _SEE_OWN,
    "identity:list_application_credentials": _SEE_OWN,
    "identity:create_application_credential": "rule:owner",
    "identity:delete_application_credential": "rule:admin_or_owner",
    "identity:list_access_rules": f"{_READS} or user_id:%(target.user.id)s",
    "identity:get_access_rule": f"{_READS} or user_id:%(target.user.id)s",
    "identity:get_project": _SEE_PROJECT,
    "identity:list_projects": _SEE_DOMAIN,
    "identity:create_project": _MANAGE_PROJECT,
    "identity:update_project": _MANAGE_PROJECT,
    "identity:delete_project": _MANAGE_PROJECT,
    **dict.fromkeys(("identity:list_project_tags", "identity:get_project_tag"), _SEE_PROJECT),
    **dict.fromkeys(
        (
            "identity:update_project_tags",
            "identity:create_project_tag",
            "identity:delete_project_tag",
            "identity:delete_project_tags",
        ),
        _MANAGE_PROJECT,
    ),
    "identity:get_domain": (
        f"{_READS} or token.domain.id:%(target.domain.id)s or token.project.domain.id:%(target.domain.id)s"
    ),
    "identity:list_domains": f"{_READS} or (role:reader and not domain_id:None)",
    "identity:create_domain": _ADMIN,
    "identity:update_domain": _ADMIN,
    "identity:delete_domain": _ADMIN,
    "identity:get_role": _SEE_ROLES,
    "identity:list_roles": _SEE_ROLES,
    "identity:create_role": _ADMIN,
    "identity:update_role": _ADMIN,
    "identity:delete_role": _ADMIN,
    **dict.fromkeys(
        (
            "identity:get_implied_role",
            "identity:list_implied_roles",
            "identity:list_role_inference_rules",
            "identity:check_implied_role",
        ),
        _READS,
    ),
    "identity:create_implied_role": _ADMIN,
    "identity:delete_implied_role": _ADMIN,
    "identity:check_grant": _SEE_GRANTS,
    "identity:list_grants": _SEE_GRANTS,
    "identity:create_grant": _MANAGE_GRANTS,
    "identity:revoke_grant": _MANAGE_GRANTS,
    "identity:list_system_grants_for_user": _READS,
    "identity:check_system_grant_for_user": _READS,
    "identity:create_system_grant_for_user": _ADMIN,
    "identity:revoke_system_grant_for_user": _ADMIN,
    "identity:list_role_assignments": _SEE_DOMAIN,
    "identity:list_credentials": "",
    "identity:get_credential": f"{_READS} or user_id:%(target.credential.user_id)s",
    **dict.fromkeys(
        (
            "identity:list_policies",
            "identity:get_policy",
            "identity:list_identity_providers",
            "identity:get_identity_provider",
            "identity:list_mappings",
            "identity:get_mapping",
            "identity:list_service_providers",
            "identity:get_service_provider",
            "identity:list_endpoint_groups",
            "identity:get_endpoint_group",
            "identity:list_endpoints_for_project",
            "identity:list_endpoint_groups_for_project",
            "identity:list_projects_for_endpoint",
        ),
        _READS,
    ),
    **dict.fromkeys(
        (
            "identity:get_service",
            "identity:list_services",
            "identity:get_endpoint",
            "identity:list_endpoints",
        ),
        _READS,
    ),
    **dict.fromkeys(
        tuple(f"identity:{verb}_{noun}" for verb in ("create", "update", "delete") for noun in
              ("service", "endpoint", "region")),
        _ADMIN,
    ),
}  # fmt: skip


def enforce(rules: Rules, rule: str, standing: Standing, target: dict[str, Any]) -> None:
    """Raises Forbidden in Keystone's words."""
    if not rules.allow(f"identity:{rule}", target, credentials(standing)):
        raise Forbidden(f"You are not authorized to perform the requested action: identity:{rule}.")


def credentials(standing: Standing) -> dict[str, Any]:
    """Of the token, under the names that checks use."""
    scope = standing.claims.scope
    domain = {"domain": {"id": DOMAIN}}
    return {
        "user_id": standing.user.id,
        "project_id": standing.project.id if standing.project else None,
        "domain_id": DOMAIN if scope == DOMAIN else None,
        "system_scope": "all" if standing.is_system else None,
        "roles": [role.name for role in standing.roles],
        "is_admin": False,
        "token": {
            "user": {"id": standing.user.id, **domain},
            "project": domain if standing.project else {},
            "domain": {"id": DOMAIN} if scope == DOMAIN else {},
        },
    }


def user_target(user: User) -> dict[str, Any]:
    return {"target.user.id": user.id, "target.user.name": user.name, "target.user.domain_id": DOMAIN}


def project_target(project: Project) -> dict[str, Any]:
    return {"target.project.id": project.id, "target.project.name": project.name, "target.project.domain_id": DOMAIN}
