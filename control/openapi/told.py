"""The document of a room whose operations have one version: identity and images."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from attrs import field, frozen

from control.openapi.paths import Json, add_links, path_parameters

Schema = dict[str, Any]


@frozen
class Body:
    """Of a request: a JSON schema, or for a media type that is not JSON of what its bytes say; `example` fits it."""

    schema: Schema
    example: Any = None
    media: str = "application/json"


@frozen
class Told:
    """What is told of an operation. `done` are its codes of success with what their JSON looks like, None for no body;
    it is empty where the site can only refuse."""

    name: str
    method: str
    path: str
    done: Mapping[int, Schema | None]
    refused: Sequence[int]
    body: Body | None = None
    query: Mapping[str, Schema] = field(factory=dict)
    headers: Mapping[str, Schema] = field(factory=dict)
    """that it takes beside the token"""
    rule: str = ""
    """of its policy"""
    bytes_of: int = 0
    """the code that answers with bytes instead of JSON"""
    free: bool = False
    """needs no token"""


def assembled(
    title: str,
    operations: Sequence[Told],
    refusals: Mapping[int, Mapping[str, Schema]],
    makers: Sequence[tuple[str, str]],
) -> bytes:
    """`refusals`: schemas by media type for each code; `makers` as `add_links` takes them."""
    paths: Json = {}
    for told in operations:
        shared = path_parameters(told.path)
        entry = paths.setdefault(told.path, {"parameters": shared} if shared else {})
        entry[told.method.lower()] = _described(told, refusals)
    by_id = {t.name: (t.path, paths[t.path][t.method.lower()]) for t in operations}
    add_links(by_id, makers)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": "1"},
            "servers": [{"url": "."}],
            "security": [{"token": []}],
            "components": {
                "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
                "responses": {f"Fault{code}": _refusal(media) for code, media in refusals.items()},
            },
            "paths": paths,
        }
    )


def _refusal(media: Mapping[str, Schema]) -> Json:
    content = {name: {"schema": schema} for name, schema in media.items()}
    return {"description": "refused", "content": content}


def _described(told: Told, refusals: Mapping[int, Mapping[str, Schema]]) -> Json:
    described: Json = {"operationId": told.name, "responses": {}}
    places = (("query", told.query), ("header", told.headers))
    parameters = [{"name": n, "in": place, "schema": s} for place, known in places for n, s in known.items()]
    if parameters:
        described["parameters"] = parameters
    if told.rule:
        described["x-policy"] = {"rule": told.rule}
    if told.free:
        described["security"] = []
    if told.body:
        content: Json = {"schema": told.body.schema}
        if told.body.example is not None:
            content["examples"] = {told.name: {"value": told.body.example}}
        described["requestBody"] = {"required": True, "content": {told.body.media: content}}
    for code, schema in told.done.items():
        response: Json = {"description": "done"}
        if code == told.bytes_of:
            response["content"] = {"application/octet-stream": {}}
        elif schema is not None:
            response["content"] = {"application/json": {"schema": schema}}
        described["responses"][str(code)] = response
    for code in told.refused:
        if code in refusals:
            described["responses"][str(code)] = {"$ref": f"#/components/responses/Fault{code}"}
    return described
