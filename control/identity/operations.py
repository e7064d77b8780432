"""What can be asked of the identity API, as a table: method, path, handler, Keystone's rule."""

from typing import Final

from control.identity.call import Operation
from control.identity.handlers import absent, app_credentials, auth, grants, groups, projects, roles, services, users

_USER: Final = "/v3/users/{user}"
_APPS: Final = _USER + "/application_credentials"
_PROJECT: Final = "/v3/projects/{project}"
_PLACES: Final = (f"{_PROJECT}/users/{{user}}/roles", "/v3/domains/{domain}/users/{user}/roles")
_ON_SYSTEM: Final = "/v3/system/users/{user}/roles"
_IMPLIES: Final = "/v3/roles/{role}/implies"

# HEAD stands before GET: a route for GET answers HEAD too.
OPERATIONS: Final = (
    Operation("HEAD", "/v3/auth/tokens", auth.check_token, "check_token"),
    Operation("GET", "/v3/auth/tokens", auth.validate_token, "validate_token"),
    Operation("DELETE", "/v3/auth/tokens", auth.revoke_token, "revoke_token"),
    Operation("GET", "/v3/auth/catalog", auth.get_auth_catalog, "get_auth_catalog"),
    Operation("GET", "/v3/auth/projects", auth.get_auth_projects, "get_auth_projects"),
    Operation("GET", "/v3/auth/domains", auth.get_auth_domains, "get_auth_domains"),
    Operation("GET", "/v3/auth/system", auth.get_auth_system, "get_auth_system"),
    Operation("GET", "/v3/users", users.list_users, "list_users"),
    Operation("POST", "/v3/users", users.create_user, "create_user"),
    Operation("GET", _USER, users.get_user, "get_user"),
    Operation("PATCH", _USER, users.update_user, "update_user"),
    Operation("DELETE", _USER, users.delete_user, "delete_user"),
    Operation("GET", _USER + "/projects", users.list_user_projects, "list_user_projects"),
    Operation("GET", _USER + "/groups", groups.list_groups, "list_groups_for_user"),
    Operation("GET", _APPS, app_credentials.list_application_credentials, "list_application_credentials"),
    Operation("POST", _APPS, app_credentials.create_application_credential, "create_application_credential"),
    Operation("GET", _APPS + "/{app}", app_credentials.get_application_credential, "get_application_credential"),
    Operation(
        "DELETE", _APPS + "/{app}", app_credentials.delete_application_credential, "delete_application_credential"
    ),
    Operation("GET", _USER + "/access_rules", app_credentials.list_access_rules, "list_access_rules"),
    Operation("GET", _USER + "/access_rules/{rule}", app_credentials.get_access_rule, "get_access_rule"),
    Operation("GET", "/v3/groups", groups.list_groups, "list_groups"),
    Operation("POST", "/v3/groups", groups.create_group, "create_group"),
    Operation("GET", "/v3/groups/{group}", groups.get_group, "get_group"),
    Operation("GET", "/v3/projects", projects.list_projects, "list_projects"),
    Operation("POST", "/v3/projects", projects.create_project, "create_project"),
    Operation("GET", _PROJECT, projects.get_project, "get_project"),
    Operation("PATCH", _PROJECT, projects.update_project, "update_project"),
    Operation("DELETE", _PROJECT, projects.delete_project, "delete_project"),
    Operation("GET", _PROJECT + "/tags", projects.list_project_tags, "list_project_tags"),
    Operation("PUT", _PROJECT + "/tags", projects.update_project_tags, "update_project_tags"),
    Operation("DELETE", _PROJECT + "/tags", projects.delete_project_tags, "delete_project_tags"),
    Operation("GET", _PROJECT + "/tags/{tag}", projects.get_project_tag, "get_project_tag"),
    Operation("PUT", _PROJECT + "/tags/{tag}", projects.create_project_tag, "create_project_tag"),
    Operation("DELETE", _PROJECT + "/tags/{tag}", projects.delete_project_tag, "delete_project_tag"),
    Operation("GET", "/v3/domains", projects.list_domains, "list_domains"),
    Operation("POST", "/v3/domains", projects.change_domains, "create_domain"),
    Operation("GET", "/v3/domains/{domain}", projects.get_domain, "get_domain"),
    Operation("PATCH", "/v3/domains/{domain}", projects.change_domains, "update_domain"),
    Operation("DELETE", "/v3/domains/{domain}", projects.change_domains, "delete_domain"),
    Operation("GET", "/v3/roles", roles.list_roles, "list_roles"),
    Operation("POST", "/v3/roles", roles.create_role, "create_role"),
    Operation("GET", "/v3/roles/{role}", roles.get_role, "get_role"),
    Operation("PATCH", "/v3/roles/{role}", roles.update_role, "update_role"),
    Operation("DELETE", "/v3/roles/{role}", roles.delete_role, "delete_role"),
    Operation("GET", "/v3/role_inferences", roles.list_role_inference_rules, "list_role_inference_rules"),
    Operation("GET", _IMPLIES, roles.list_implied_roles, "list_implied_roles"),
    Operation("HEAD", _IMPLIES + "/{implied}", roles.check_implied_role, "check_implied_role"),
    Operation("GET", _IMPLIES + "/{implied}", roles.get_implied_role, "get_implied_role"),
    Operation("PUT", _IMPLIES + "/{implied}", roles.create_implied_role, "create_implied_role"),
    Operation("DELETE", _IMPLIES + "/{implied}", roles.delete_implied_role, "delete_implied_role"),
    Operation("GET", "/v3/role_assignments", grants.list_role_assignments, "list_role_assignments"),
    *(
        operation
        for path in _PLACES
        for operation in (
            Operation("GET", path, grants.list_grants, "list_grants"),
            Operation("PUT", path + "/{role}", grants.create_grant, "create_grant"),
            Operation("GET", path + "/{role}", grants.check_grant, "check_grant"),
            Operation("DELETE", path + "/{role}", grants.revoke_grant, "revoke_grant"),
        )
    ),
    Operation("GET", _ON_SYSTEM, grants.list_grants, "list_system_grants_for_user"),
    Operation("PUT", _ON_SYSTEM + "/{role}", grants.create_grant, "create_system_grant_for_user"),
    Operation("GET", _ON_SYSTEM + "/{role}", grants.check_grant, "check_system_grant_for_user"),
    Operation("DELETE", _ON_SYSTEM + "/{role}", grants.revoke_grant, "revoke_system_grant_for_user"),
    Operation("GET", "/v3/services", services.list_services, "list_services"),
    Operation("GET", "/v3/services/{service}", services.get_service, "get_service"),
    Operation("GET", "/v3/endpoints", services.list_endpoints, "list_endpoints"),
    Operation("GET", "/v3/endpoints/{endpoint}", services.get_endpoint, "get_endpoint"),
    Operation("GET", "/v3/regions", services.list_regions, "list_regions"),
    Operation("GET", "/v3/regions/{region}", services.get_region, "get_region"),
    *(
        Operation(method, path, services.change_catalog, f"{verb}_{noun}")
        for noun in ("service", "endpoint", "region")
        for method, path, verb in (
            ("POST", f"/v3/{noun}s", "create"),
            ("PATCH", f"/v3/{noun}s/{{{noun}}}", "update"),
            ("DELETE", f"/v3/{noun}s/{{{noun}}}", "delete"),
        )
    ),
    Operation("GET", "/v3/registered_limits", services.list_registered_limits, "list_registered_limits"),
    Operation("GET", "/v3/limits/model", services.get_limit_model, "get_limit_model"),
    Operation("GET", "/v3/limits", services.list_limits, "list_limits"),
    Operation("GET", "/v3/OS-FEDERATION/projects", auth.get_auth_projects, "get_auth_projects"),
    Operation("GET", "/v3/OS-FEDERATION/domains", auth.get_auth_domains, "get_auth_domains"),
    *(
        operation
        for kind in absent.ABSENT
        for operation in (
            Operation("GET", kind.path, absent.empty(kind.plural), f"list_{kind.plural}"),
            Operation("GET", kind.path + "/{absent}", absent.missing(kind), f"get_{kind.one}"),
        )
    ),
    *(Operation("GET", path, absent.empty(plural), rule) for path, plural, rule in absent.LISTS),
)
