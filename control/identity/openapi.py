"""The table of operations as an OpenAPI 3.1 document."""

from functools import cache
from http import HTTPStatus
from typing import Any, Final, cast

from control.identity.call import SUBJECT, Operation
from control.identity.handlers.absent import ABSENT, LISTS
from control.identity.operations import OPERATIONS
from control.identity.schemas import SCHEMAS
from control.openapi.shapes import (
    ANYTHING,
    BOOLEAN,
    NULL,
    STRING,
    URL,
    array,
    either,
    mapping,
    nullable,
    obj,
    one_of,
)
from control.openapi.told import Body, Told, assembled
from schemas.errors import fault_name

Schema = dict[str, Any]

_SELF: Final = obj({"self": URL})
_PAGES: Final = obj({"next": nullable(URL), "self": URL, "previous": NULL})
_REF: Final = obj({"id": STRING}, name=STRING, domain=ANYTHING)
_MOMENT: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z?$"}


def _open(properties: Schema, **optional: Schema) -> Schema:
    """What clients say beside these is kept and shown."""
    return {**obj(properties, **optional), "additionalProperties": True}


def _named(noun: str, schema: Schema) -> Schema:
    return obj({noun: schema})


def _list(nouns: str, schema: Schema) -> Schema:
    return obj({nouns: array(schema), "links": _PAGES})


USER: Final = _open(
    {
        "id": STRING,
        "name": STRING,
        "domain_id": STRING,
        "enabled": BOOLEAN,
        "password_expires_at": NULL,
        "options": mapping(ANYTHING),
        "links": _SELF,
    },
    default_project_id=STRING,
)
PROJECT: Final = _open(
    {
        "id": STRING,
        "name": STRING,
        "domain_id": nullable(STRING),
        "description": STRING,
        "enabled": BOOLEAN,
        "parent_id": nullable(STRING),
        "is_domain": BOOLEAN,
        "tags": array(STRING),
        "options": mapping(ANYTHING),
        "links": _SELF,
    }
)
ROLE: Final = _open(
    {
        "id": STRING,
        "name": STRING,
        "domain_id": NULL,
        "description": nullable(STRING),
        "options": mapping(ANYTHING),
        "links": _SELF,
    }
)
DOMAIN: Final = obj(
    {
        "id": STRING,
        "name": STRING,
        "description": STRING,
        "enabled": BOOLEAN,
        "tags": array(STRING),
        "options": mapping(ANYTHING),
        "links": _SELF,
    }
)
REGION: Final = obj({"id": STRING, "description": STRING, "parent_region_id": NULL, "links": _SELF})
SERVICE: Final = obj(
    {"id": STRING, "type": STRING, "name": STRING, "description": STRING, "enabled": BOOLEAN, "links": _SELF}
)
_INTERFACE: Final = one_of("public", "internal", "admin")
ENDPOINT: Final = obj(
    {
        "id": STRING,
        "interface": _INTERFACE,
        "region": STRING,
        "region_id": STRING,
        "service_id": STRING,
        "url": URL,
        "enabled": BOOLEAN,
        "links": _SELF,
    }
)
CATALOG: Final = array(
    obj(
        {
            "id": STRING,
            "type": STRING,
            "name": STRING,
            "endpoints": array(
                obj({"id": STRING, "interface": _INTERFACE, "region": STRING, "region_id": STRING, "url": URL})
            ),
        }
    )
)
_APP_ROLE: Final = obj(
    {
        "id": STRING,
        "name": STRING,
        "domain_id": NULL,
        "description": nullable(STRING),
        "options": mapping(ANYTHING),
    }
)
_APP: Final = {
    "id": STRING,
    "name": STRING,
    "description": nullable(STRING),
    "user_id": STRING,
    "project_id": STRING,
    "roles": array(_APP_ROLE),
    "expires_at": nullable(_MOMENT),
    "unrestricted": BOOLEAN,
    "links": _SELF,
}
_LINKED_ROLE: Final = obj({"id": STRING, "name": STRING, "links": _SELF})
INFERENCE: Final = obj({"prior_role": _LINKED_ROLE, "implies": array(_LINKED_ROLE)})
TOKEN: Final = obj(
    {
        "methods": array(STRING),
        "user": obj({"domain": _REF, "id": STRING, "name": STRING, "password_expires_at": NULL}),
        "audit_ids": array(STRING),
        "expires_at": _MOMENT,
        "issued_at": _MOMENT,
    },
    application_credential=obj({"id": STRING, "name": STRING, "restricted": BOOLEAN}),
    project=_REF,
    is_domain=BOOLEAN,
    system=obj({"all": BOOLEAN}),
    domain=_REF,
    roles=array(_REF),
    catalog=CATALOG,
)
GRANT: Final = obj(
    {
        "role": _REF,
        "user": _REF,
        "scope": obj({}, project=_REF, domain=_REF, system=obj({"all": BOOLEAN})),
        "links": obj({"assignment": URL}, prior_role=URL),
    }
)
_TAGS: Final = obj({"tags": array(STRING), "links": _PAGES})

REPLIES: Final[dict[str, Schema]] = {
    "validate_token": _named("token", TOKEN),
    "get_auth_catalog": obj({"catalog": CATALOG, "links": _PAGES}),
    "get_auth_projects": _list("projects", PROJECT),
    "get_auth_domains": _list("domains", DOMAIN),
    "get_auth_system": obj({"system": array(obj({"all": BOOLEAN})), "links": _SELF}),
    "list_users": _list("users", USER),
    **dict.fromkeys(("create_user", "get_user", "update_user"), _named("user", USER)),
    "list_user_projects": _list("projects", PROJECT),
    "list_groups_for_user": _list("groups", ANYTHING),
    "list_application_credentials": _list("application_credentials", obj(_APP)),
    "create_application_credential": _named("application_credential", obj({**_APP, "secret": STRING})),
    "get_application_credential": _named("application_credential", obj(_APP)),
    "list_access_rules": _list("access_rules", ANYTHING),
    "list_groups": _list("groups", ANYTHING),
    "list_projects": _list("projects", PROJECT),
    **dict.fromkeys(("create_project", "get_project", "update_project"), _named("project", PROJECT)),
    "list_project_tags": _TAGS,
    "update_project_tags": _TAGS,
    "list_domains": _list("domains", DOMAIN),
    "get_domain": _named("domain", DOMAIN),
    "list_roles": _list("roles", ROLE),
    **dict.fromkeys(("create_role", "get_role", "update_role"), _named("role", ROLE)),
    "list_role_inference_rules": obj({"role_inferences": array(INFERENCE), "links": _SELF}),
    "list_implied_roles": obj({"role_inference": INFERENCE, "links": _SELF}),
    **dict.fromkeys(
        ("get_implied_role", "create_implied_role"),
        obj({"role_inference": obj({"prior_role": _LINKED_ROLE, "implies": _LINKED_ROLE}), "links": _SELF}),
    ),
    "list_role_assignments": obj({"role_assignments": array(GRANT), "links": _PAGES}),
    "list_grants": _list("roles", ROLE),
    "list_system_grants_for_user": _list("roles", ROLE),
    "list_services": _list("services", SERVICE),
    "get_service": _named("service", SERVICE),
    "list_endpoints": _list("endpoints", ENDPOINT),
    "get_endpoint": _named("endpoint", ENDPOINT),
    "list_regions": _list("regions", REGION),
    "get_region": _named("region", REGION),
    "list_registered_limits": _list("registered_limits", ANYTHING),
    "get_limit_model": _named("model", obj({"name": STRING, "description": STRING})),
    "list_limits": _list("limits", ANYTHING),
    **{f"list_{kind.plural}": _list(kind.plural, ANYTHING) for kind in ABSENT},
    **{rule: _list(plural, ANYTHING) for _, plural, rule in LISTS},
}
"""By rule, what a success answers; the others answer without a body"""

CREATED: Final = frozenset(
    {"create_user", "create_project", "create_role", "create_application_credential", "create_implied_role"}
    | {"create_project_tag"}
)
CHECKED: Final = frozenset({"check_token"})
"""... with 200 though there is no body"""
REFUSED: Final = frozenset(
    {
        f"{verb}_{noun}"
        for verb in ("create", "update", "delete")
        for noun in ("service", "endpoint", "region", "domain")
    }
    | {"create_group", "get_group", "get_access_rule", "delete_implied_role"}
    | {f"get_{kind.one}" for kind in ABSENT}
)
"""What this site never does"""

_LOGIN: Final = {
    "auth": {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": "demo", "domain": {"id": "default"}, "password": "a password"}},
        },
        "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
    }
}
BODIES: Final[dict[str, tuple[str | None, str, Any]]] = {
    "create_user": ("user", "user create", {"user": {"name": "ops", "password": "a password"}}),
    "update_user": ("user", "user update", {"user": {"description": "on call"}}),
    "create_project": ("project", "project create", {"project": {"name": "web", "tags": ["east"]}}),
    "update_project": ("project", "project update", {"project": {"description": "all of the web"}}),
    "update_project_tags": (None, "tags", {"tags": ["east", "west"]}),
    "create_role": ("role", "role create", {"role": {"name": "auditor"}}),
    "update_role": ("role", "role update", {"role": {"description": "sees the books"}}),
    "create_application_credential": (
        "application_credential",
        "application credential create",
        {"application_credential": {"name": "ci", "roles": [{"name": "reader"}]}},
    ),
}
"""By rule: under which noun, which schema, and an example"""

LIMIT: Final[Schema] = {"limit": {"type": "integer", "minimum": 0}, "marker": STRING}
FILTERS: Final[dict[str, tuple[str, ...]]] = {
    "list_users": ("name", "name__contains", "enabled", "domain_id"),
    "list_projects": ("name", "name__contains", "enabled", "domain_id", "parent_id", "is_domain", "tags", "not-tags"),
    "list_user_projects": ("name", "enabled"),
    "list_roles": ("name",),
    "list_services": ("type", "name"),
    "list_endpoints": ("interface", "service_id", "region_id"),
    "list_application_credentials": ("name",),
    "list_domains": ("name", "enabled"),
    "get_project": ("parents_as_list", "parents_as_ids", "subtree_as_list", "subtree_as_ids"),
    "list_role_assignments": ("user.id", "role.id", "scope.project.id", "scope.system", "effective", "include_names"),
    "validate_token": ("nocatalog", "allow_expired"),
}

CODES: Final = (400, 401, 403, 404, 409, 413, 429, 503)
MAKERS: Final = (
    ("create_user", "/user/id"),
    ("create_project", "/project/id"),
    ("create_role", "/role/id"),
    ("create_application_credential", "/application_credential/id"),
    ("list_regions", "/regions/0/id"),
)


def _fault(code: int) -> dict[str, Schema]:
    """Keystone's form; what the frame around all rooms refuses has Nova's."""
    told = {"code": {"type": "integer", "const": code}, "message": STRING}
    own = obj({"error": obj({**told, "title": one_of(HTTPStatus(code).phrase)})})
    return {"application/json": either(own, obj({fault_name(code): obj(told)})) if code in (413, 429, 503) else own}


@cache
def document() -> bytes:
    names: set[str] = set()
    told = [_log_in(), _change_password()]
    for operation in OPERATIONS:
        name = operation.rule if operation.rule not in names else f"{operation.rule}_on_domain"
        if operation.path.startswith("/v3/OS-FEDERATION") and operation.rule in names:
            name = f"{operation.rule}_federated"
        names.add(name)
        told.append(_told(operation, name))
    return assembled("Kilonova identity API", told, {code: _fault(code) for code in CODES}, MAKERS)


def _told(operation: Operation, name: str) -> Told:
    rule = operation.rule
    body = None
    if rule in BODIES:
        noun, schema, example = BODIES[rule]
        body = Body(_body(noun, schema), example)
    elif operation.method in ("POST", "PATCH"):
        body = Body(mapping(ANYTHING))
    query = dict.fromkeys(FILTERS.get(rule, ()), STRING)
    if rule.startswith("list_") and "links" in REPLIES.get(rule, {}).get("properties", {}):
        query |= LIMIT
    return Told(
        name,
        operation.method,
        operation.path,
        {} if rule in REFUSED else {_code(operation): REPLIES.get(rule)},
        CODES,
        body,
        query,
        {SUBJECT: STRING} if operation.path == "/v3/auth/tokens" else {},
        rule=f"identity:{rule}",
    )


def _code(operation: Operation) -> int:
    rule = operation.rule
    return 201 if rule in CREATED else 200 if rule in REPLIES or rule in CHECKED else 204


def _body(noun: str | None, schema: str) -> Schema:
    inner = cast(Schema, SCHEMAS[schema].schema)
    return {"type": "object", "properties": {noun: inner}, "required": [noun]} if noun else inner


def _log_in() -> Told:
    return Told(
        "log_in",
        "POST",
        "/v3/auth/tokens",
        {201: _named("token", TOKEN)},
        CODES,
        Body(_body("auth", "auth"), _LOGIN),
        {"nocatalog": STRING},
        free=True,
    )


def _change_password() -> Told:
    example = {"user": {"original_password": "a password", "password": "another password"}}
    body = Body(_body("user", "password change"), example)
    return Told("change_password", "POST", "/v3/users/{user}/password", {204: None}, CODES, body, free=True)
