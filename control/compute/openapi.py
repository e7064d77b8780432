"""The table of operations as an OpenAPI 3.1 document."""

from functools import cache
from typing import Any, Final

import orjson

from control.compute.microversions import MAX, MIN, text
from control.compute.operation import Operation
from control.compute.operations import OPERATIONS
from control.compute.policy import PREFIX

Json = dict[str, Any]


_CODE_AND_TEXT: Final[Json] = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    "required": ["code", "message"],
}
FAULT: Final[Json] = {
    "description": "an error under the name of its kind, such as `itemNotFound`",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": _CODE_AND_TEXT,
            }
        }
    },
}


@cache
def document() -> bytes:
    """Schemas are those of the newest version that an operation speaks; `x-microversions` says which it does."""
    paths: Json = {}
    for operation in OPERATIONS:
        entry = paths.setdefault(operation.path, _parameters(operation))
        known = entry.get(operation.method.lower())
        if known is None:
            entry[operation.method.lower()] = _described(operation)
        else:
            _add_alternative(known, operation)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Kilonova compute API", "version": text(MAX), "x-min-version": text(MIN)},
            "servers": [{"url": "v2.1"}],
            "security": [{"token": []}],
            "components": {
                "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
                "responses": {"Fault": FAULT},
            },
            "paths": paths,
        }
    )


def _parameters(operation: Operation) -> Json:
    names = [p[1:-1] for p in operation.path.split("/") if p.startswith("{")]
    shared = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    return {"parameters": shared} if shared else {}


def _described(operation: Operation) -> Json:
    newest = operation.until or MAX
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.name.split(".")[0]],
        "x-microversions": {"min": text(operation.since), "max": text(newest)},
        "responses": _responses(operation),
    }
    if operation.action:
        described["operationId"] = operation.name.split(".")[0] + ".action"
        described["x-actions"] = [_action(operation)]
    elif operation.rule:
        described["x-policy"] = {"rule": PREFIX + operation.rule, "default": operation.role}
    if operation.query:
        properties = operation.query.schema(newest).get("properties", {})
        described["parameters"] = [{"name": n, "in": "query", "schema": s} for n, s in properties.items()]
    if operation.body:
        schema = operation.body.schema(newest)
        schema = {"oneOf": [schema]} if operation.action else schema
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _add_alternative(described: Json, operation: Operation) -> None:
    """Another action of the same path."""
    described["x-actions"].append(_action(operation))
    described["responses"] |= _responses(operation)
    if operation.body:
        schema = operation.body.schema(operation.until or MAX)
        described["requestBody"]["content"]["application/json"]["schema"]["oneOf"].append(schema)


def _action(operation: Operation) -> Json:
    return {
        "action": operation.action,
        "name": operation.name,
        "success": operation.code(operation.until or MAX),
        "policy": {"rule": PREFIX + (operation.rule or ""), "default": operation.role},
    }


def _responses(operation: Operation) -> Json:
    codes = [operation.success] if isinstance(operation.success, int) else list(operation.success.values())
    properties = {"type": "object", "properties": {key: {} for key in operation.reply}}
    content = {"content": {"application/json": {"schema": properties}}} if operation.reply else {}
    success = {str(code): {"description": "success", **content} for code in codes}
    return {**success, "default": {"$ref": "#/components/responses/Fault"}}
