"""The documents of identity and images: valid, and true of what the tables say."""

import json
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from control.identity import openapi as identity
from control.identity.operations import OPERATIONS as IDENTITY
from control.images import openapi as images
from control.images.app import OPERATIONS as IMAGES

Json = dict[str, Any]
DOCUMENTS = {"identity": json.loads(identity.document()), "images": json.loads(images.document(IMAGES))}
FREE = {("POST", "/v3/auth/tokens"), ("POST", "/v3/users/{user}/password")}


def described(whole: Json) -> dict[tuple[str, str], Json]:
    """By method and path."""
    return {
        (method.upper(), path): operation
        for path, entry in whole["paths"].items()
        for method, operation in entry.items()
        if method != "parameters"
    }


@pytest.mark.parametrize("room", DOCUMENTS)
def test_they_are_valid_openapi(room: str) -> None:
    OpenAPIV31SpecValidator(DOCUMENTS[room]).validate()


def test_they_have_every_operation() -> None:
    assert set(described(DOCUMENTS["identity"])) == {(o.method, o.path) for o in IDENTITY} | FREE
    assert set(described(DOCUMENTS["images"])) == {(o.method, o.path) for o in IMAGES}
    rules = {o.rule for o in IDENTITY}
    for table in (identity.REPLIES, identity.BODIES, identity.FILTERS):
        assert set(table) <= rules
    assert rules >= identity.CREATED | identity.CHECKED | identity.REFUSED
    names = {o.handler.__name__ for o in IMAGES}
    assert set(images.DONE) | set(images.BODIES) <= names


@pytest.mark.parametrize("room", DOCUMENTS)
def test_examples_fit(room: str) -> None:
    for operation in described(DOCUMENTS[room]).values():
        for content in operation.get("requestBody", {"content": {}})["content"].values():
            for example in content.get("examples", {}).values():
                jsonschema.validate(example["value"], content["schema"])
