"""JSON schemas of what clients send, by noun; what does not fit is answered in Keystone's words."""

from typing import Any, Final

from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import best_match

from control.identity import options
from schemas.errors import BadRequest

_TEXT: Final = {"type": "string"}
_NULLABLE_TEXT: Final = {"type": ["string", "null"]}
_FLAG: Final = {"type": "boolean", "enum": [True, False]}
_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[a-zA-Z0-9-]+$"}
_NULLABLE_ID: Final = {"type": ["string", "null"], "minLength": 1, "maxLength": 64, "pattern": r"^[a-zA-Z0-9-]+$"}
_TAG: Final = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"}
_TAGS: Final = {"type": "array", "items": _TAG, "required": [], "maxItems": 80, "uniqueItems": True}
_RESOURCE_OPTIONS: Final = options.schema(options.RESOURCE)


def _name(longest: int = 255) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": r"[\S]+"}


def _object(properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        **({"required": list(required)} if required else {}),
        "additionalProperties": True,
        **more,
    }


def _pair(properties: dict[str, Any], required: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """For a creation and for an update."""
    return _object(properties, required), _object(properties, minProperties=1)


_USER: Final = {
    "default_project_id": _NULLABLE_ID,
    "description": _NULLABLE_TEXT,
    "domain_id": _ID,
    "enabled": _FLAG,
    "name": _name(),
    "password": _NULLABLE_TEXT,
    "options": options.schema(options.USER),
}
_PROJECT: Final = {
    "description": _NULLABLE_TEXT,
    "domain_id": _NULLABLE_ID,
    "enabled": _FLAG,
    "is_domain": _FLAG,
    "parent_id": _NULLABLE_ID,
    "name": _name(64),
    "tags": _TAGS,
    "options": _RESOURCE_OPTIONS,
}
_ROLE: Final = {
    "name": _name(),
    "description": _NULLABLE_TEXT,
    "domain_id": _NULLABLE_ID,
    "options": _RESOURCE_OPTIONS,
}
_ROLE_REF: Final = {
    "type": "object",
    "properties": {"id": _ID, "name": _name()},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
_APP_CREDENTIAL: Final = {
    "name": _name(),
    "description": _NULLABLE_TEXT,
    "expires_at": {"type": ["null", "string"]},
    "roles": {"type": "array", "items": _ROLE_REF},
    "secret": {"type": ["null", "string"]},
    "unrestricted": _FLAG,
    "access_rules": {"type": "array", "items": {"type": "object"}},
}
_DOMAIN_REF: Final = {"type": "object", "properties": {"id": _TEXT, "name": _TEXT}}
_USER_REF: Final = {
    "type": "object",
    "properties": {"id": _TEXT, "name": _TEXT, "password": _TEXT, "domain": _DOMAIN_REF},
}
_LOGIN: Final = {
    "type": "object",
    "properties": {
        "identity": {
            "type": "object",
            "properties": {
                "methods": {"type": "array", "items": _TEXT},
                "password": {"type": "object", "properties": {"user": _USER_REF}},
                "token": {"type": "object", "properties": {"id": _TEXT}, "required": ["id"]},
                "application_credential": {
                    "type": "object",
                    "properties": {"id": _TEXT, "name": _TEXT, "secret": _TEXT, "user": _USER_REF},
                    "required": ["secret"],
                },
            },
            "required": ["methods"],
        },
        "scope": {
            "type": ["object", "string"],
            "properties": {
                "project": {"type": "object", "properties": {"name": _TEXT, "id": _TEXT, "domain": _DOMAIN_REF}},
                "domain": _DOMAIN_REF,
                "system": {"type": "object", "properties": {"all": _FLAG}},
            },
        },
    },
    "required": ["identity"],
}

SCHEMAS: Final[dict[str, Draft4Validator]] = {
    name: Draft4Validator(schema, format_checker=FormatChecker())
    for name, schema in {
        "auth": _LOGIN,
        **dict(zip(("user create", "user update"), _pair(_USER, ("name",)), strict=True)),
        **dict(zip(("project create", "project update"), _pair(_PROJECT, ("name",)), strict=True)),
        **dict(zip(("role create", "role update"), _pair(_ROLE, ("name",)), strict=True)),
        "password change": _object({"original_password": _TEXT, "password": _TEXT}, ("original_password", "password")),
        "application credential create": {
            "type": "object",
            "properties": _APP_CREDENTIAL,
            "required": ["name"],
            "additionalProperties": False,
        },
        "tag": _TAG,
        "tags": {"type": "object", "properties": {"tags": _TAGS}, "required": ["tags"]},
    }.items()
}


def validate(schema: str, given: Any) -> None:
    """Raises BadRequest with the field and what is wrong with it."""
    error = best_match(SCHEMAS[schema].iter_errors(given))
    if error is None:
        return
    path = "/".join(map(str, error.path))
    raise BadRequest(f"Invalid input for field '{path}': {error}" if path else str(error))


def malformed(what: str, where: str) -> BadRequest:
    """What Keystone says when something is missing altogether."""
    return BadRequest(
        f"Expecting to find {what} in {where}. The server could not comply with the request since it is either "
        "malformed or otherwise incorrect. The client is assumed to be in error."
    )
