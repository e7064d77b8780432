"""The served documents: valid, whole, and true of what the table says."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from control.compute.microversions import MAX, MIN
from control.compute.openapi.document import document
from control.compute.openapi.examples import EXAMPLES
from control.compute.openapi.replies import REPLIES
from control.compute.openapi.server_replies import FIELD_SHAPES
from control.compute.operations import OPERATIONS
from control.compute.views.servers import EXTENSION_FIELDS, FIELDS, SINGLE_FIELDS

Json = dict[str, Any]


def told(version: int = MAX) -> Json:
    whole: Json = json.loads(document(version))
    return whole


def described(whole: Json) -> dict[tuple[str, str], Json]:
    """By method and path."""
    return {
        (method.upper(), path): operation
        for path, entry in whole["paths"].items()
        for method, operation in entry.items()
        if method != "parameters"
    }


@pytest.mark.parametrize("version", [MIN, MAX])
def test_documents_are_valid_openapi(version: int) -> None:
    OpenAPIV31SpecValidator(told(version)).validate()


@pytest.mark.parametrize("version", [MIN, 26, 53, MAX])
def test_a_document_has_the_operations_of_its_version(version: int) -> None:
    whole = told(version)
    found = described(whole)
    assert set(found) == {(o.method, o.path) for o in OPERATIONS if o.speaks(version)}
    ids = [operation["operationId"] for operation in found.values()]
    assert len(ids) == len(set(ids))
    for (_, path), operation in found.items():
        declared = {p["name"] for p in whole["paths"][path].get("parameters", ())}
        assert declared == set(re.findall(r"\{([^}]*)\}", path))
        assert {"400", "401", "403", "404", "406", "503"} <= set(operation["responses"])


def test_what_answers_with_a_body_is_described() -> None:
    assert {o.name for o in OPERATIONS if o.reply} <= set(REPLIES) <= {o.name for o in OPERATIONS}
    assert {f.name for f in (*FIELDS, *EXTENSION_FIELDS, *SINGLE_FIELDS)} == {*FIELD_SHAPES, "image", "flavor"}


def test_an_action_is_told_with_the_others_of_its_path() -> None:
    action = described(told())["POST", "/servers/{server}/action"]
    names = {one["action"] for one in action["x-actions"]}
    assert names == {o.action for o in OPERATIONS if o.path == "/servers/{server}/action" and o.speaks(MAX)}
    alternatives = action["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert {key for one in alternatives for key in one["required"]} == names
    assert {"200", "202"} <= set(action["responses"])


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body], ids=lambda o: o.name)
def test_examples_are_bodies_that_are_taken(operation: Any) -> None:
    for step in operation.body.steps:
        if operation.speaks(step):
            operation.body.validator(step).check_body(EXAMPLES[operation.name](step))


def test_from_what_was_made_one_gets_to_what_can_be_done_with_it() -> None:
    links = described(told())["POST", "/servers"]["responses"]["202"]["links"]
    assert {"servers.show", "servers.delete", "servers.action", "server-tags.list"} <= set(links)
    assert links["servers.show"] == {
        "operationId": "servers.show",
        "parameters": {"server": "$response.body#/server/id"},
    }
    assert "servers.detail" not in links
