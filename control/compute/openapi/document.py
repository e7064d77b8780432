"""The document of a microversion."""

from functools import lru_cache
from typing import Any, Final

import orjson

from control.compute.microversions import MAX, MIN, text
from control.compute.openapi.examples import EXAMPLES
from control.compute.openapi.replies import REPLIES
from control.compute.operation import Operation
from control.compute.operations import OPERATIONS
from control.compute.policy import full_name
from control.openapi.paths import add_links, answer, path_parameters, reference
from control.openapi.shapes import STRING, mapping, obj
from schemas.errors import fault_name

Json = dict[str, Any]

REFUSALS: Final = {
    400: "what was sent is not what the operation takes",
    401: "no token, or one that is not valid",
    403: "policy or a quota does not allow it",
    404: "it is not there, not visible, or not in this microversion",
    406: "the microversion is not served",
    409: "its state does not allow it, or somebody was faster",
    413: "the body is too large",
    415: "the body is not JSON",
    501: "the hypervisor cannot do it",
    503: "a part that is needed does not answer now",
}
ALWAYS: Final = (400, 401, 403, 404, 406, 503)
WITH_BODY: Final = (413, 415)
ON_WRITES: Final = (409,)
FURTHER: Final[dict[str, tuple[int, ...]]] = {
    "hosts.reboot": (501,),
    "hosts.shutdown": (501,),
    "hosts.startup": (501,),
    "hosts.update": (501,),
    "hypervisors.uptime": (501,),
    "server-diagnostics.show": (409, 501),
    "servers.action": (501,),
}
"""Refusals that only these know"""
NEVER_DONE: Final = frozenset({"hosts.reboot", "hosts.shutdown", "hosts.startup"})
"""No driver can"""
ALSO_DONE: Final = {"server-tags.update": 204}
"""A second code of success, without a body"""

MAKERS: Final = (
    ("servers.create", "/server/id"),
    ("flavors.create", "/flavor/id"),
    ("keypairs.create", "/keypair/name"),
    ("aggregates.create", "/aggregate/id"),
    ("server-groups.create", "/server_group/id"),
    ("extensions.list", "/extensions/0/alias"),
)
"""Operations whose answer names what others are about, and where; none whose list may be empty"""

HEADERS: Final = {
    "RequestId": {"description": "names the request in logs and in the server's history", "schema": STRING},
    "Location": {"description": "of what was made", "schema": STRING},
}


@lru_cache(8)
def document(version: int = MAX) -> bytes:
    """Of the operations, bodies and answers of this microversion, and of no other."""
    paths: Json = {}
    for operation in OPERATIONS:
        if not operation.speaks(version):
            continue
        shared = path_parameters(operation.path)
        entry = paths.setdefault(operation.path, {"parameters": shared} if shared else {})
        known = entry.get(operation.method.lower())
        if known is None:
            entry[operation.method.lower()] = _described(operation, version)
        else:
            _add_alternative(known, operation, version)
    add_links(_by_id(paths), MAKERS)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Kilonova compute API",
                "description": f"As microversion {text(version)} has it. `openapi.json?microversion=2.N` is another "
                "one's document.",
                "version": text(version),
                "x-microversions": {"min": text(MIN), "max": text(MAX)},
            },
            "servers": [{"url": "v2.1"}],
            "security": [{"token": []}],
            "components": {
                "securitySchemes": {
                    "token": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "X-Auth-Token",
                        "description": "a token of a project, from POST /identity/v3/auth/tokens",
                    }
                },
                "parameters": {"Microversion": _microversion(version)},
                "headers": HEADERS,
                "schemas": {f"Fault{code}": _fault(code) for code in REFUSALS},
                "responses": {f"Fault{code}": _refusal(code, told) for code, told in REFUSALS.items()},
            },
            "paths": paths,
        }
    )


def _microversion(version: int) -> Json:
    """A request without the header speaks 2.1."""
    return {
        "name": "OpenStack-API-Version",
        "in": "header",
        "required": version > MIN,
        "schema": {"type": "string", "enum": [f"compute {text(version)}"]},
        "example": f"compute {text(version)}",
    }


def _fault(code: int) -> Json:
    if code == 401:
        return obj({"error": obj({"code": {"type": "integer", "const": 401}, "title": STRING, "message": STRING})})
    told = obj({"code": {"type": "integer", "const": code}, "message": STRING})
    return obj({fault_name(code): told})


def _refusal(code: int, description: str) -> Json:
    return answer(description, reference("schemas", f"Fault{code}"), _headers())


def _headers(*more: str) -> Json:
    names = {"X-OpenStack-Request-Id": "RequestId", **{name: name for name in more}}
    return {name: reference("headers", component) for name, component in names.items()}


def _by_id(paths: Json) -> dict[str, tuple[str, Json]]:
    return {
        described["operationId"]: (path, described)
        for path, entry in paths.items()
        for method, described in entry.items()
        if method != "parameters"
    }


def _described(operation: Operation, version: int) -> Json:
    resource = operation.name.split(".", maxsplit=1)[0]
    described: Json = {
        "operationId": f"{resource}.action" if operation.action else operation.name,
        "tags": [resource],
        "parameters": [reference("parameters", "Microversion"), *_query(operation, version)],
    }
    described["responses"] = _done(operation, version) | _refused(operation, described["operationId"])
    if operation.action:
        described["x-actions"] = [_action(operation, version)]
    else:
        described["x-microversions"] = {"min": text(operation.since), "max": text(operation.until or MAX)}
        if operation.rule:
            described["x-policy"] = {"rule": full_name(operation.rule), "default": operation.role}
    if operation.body:
        schema = operation.body.schema(version)
        content: Json = {"schema": {"oneOf": [schema]} if operation.action else schema}
        if operation.name in EXAMPLES:
            content["examples"] = {operation.name: {"value": EXAMPLES[operation.name](version)}}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _query(operation: Operation, version: int) -> list[Json]:
    properties = operation.query.schema(version).get("properties", {}) if operation.query else {}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


def _add_alternative(described: Json, operation: Operation, version: int) -> None:
    """Another action of the same path."""
    described["x-actions"].append(_action(operation, version))
    for code, response in _done(operation, version).items():
        known = described["responses"].setdefault(code, response)
        if known is not response and "content" in response:
            _widen(known, response)
    if operation.body:
        content = described["requestBody"]["content"]["application/json"]
        content["schema"]["oneOf"].append(operation.body.schema(version))
        if operation.name in EXAMPLES:
            content["examples"][operation.name] = {"value": EXAMPLES[operation.name](version)}


def _widen(known: Json, response: Json) -> None:
    """What another action answers with the same code."""
    ours, theirs = known.get("content"), response["content"]
    if ours is None:
        known["content"] = theirs
        return
    before, after = ours["application/json"]["schema"], theirs["application/json"]["schema"]
    alternatives = before.get("anyOf", [before])
    if after not in alternatives:
        ours["application/json"]["schema"] = {"anyOf": [*alternatives, after]}


def _action(operation: Operation, version: int) -> Json:
    return {
        "action": operation.action,
        "name": operation.name,
        "success": operation.code(version),
        "policy": {"rule": full_name(operation.rule or ""), "default": operation.role},
    }


def _done(operation: Operation, version: int) -> Json:
    if operation.name in NEVER_DONE:
        return {}
    made = REPLIES.get(operation.name)
    schema = made(version) if made else mapping({}) if operation.reply else None
    headers = _headers("Location") if operation.name in ("servers.create", "server-tags.update") else _headers()
    done = {str(operation.code(version)): answer("done", schema, headers)}
    if operation.name in ALSO_DONE:
        done[str(ALSO_DONE[operation.name])] = answer("nothing had to be done", None, _headers())
    return done


def _refused(operation: Operation, name: str) -> Json:
    codes = [*ALWAYS, *FURTHER.get(name, ())]
    if operation.body:
        codes += WITH_BODY
    if operation.method != "GET":
        codes += ON_WRITES
    return {str(code): reference("responses", f"Fault{code}") for code in sorted(set(codes))}
