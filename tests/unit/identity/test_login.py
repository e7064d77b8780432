"""The body of a login: every form that clients send, and the answers to what is none."""

from typing import Any

import pytest

from control.identity.login import Ref, Scope, parse_login, parse_scope
from schemas.errors import BadRequest, Unauthorized

DEFAULT = {"id": "default"}
PASSWORD = {"methods": ["password"], "password": {"user": {"name": "u", "domain": DEFAULT, "password": "p"}}}


def test_by_name_and_by_id() -> None:
    assert parse_login({"auth": {"identity": PASSWORD}}).user == Ref(None, "u")
    by_id = {"methods": ["password"], "password": {"user": {"id": "1", "password": "p"}}}
    login = parse_login({"auth": {"identity": by_id}})
    assert (login.user, login.password, login.token, login.scope) == (Ref("1", None), "p", None, Scope("default"))


def test_a_login_does_not_show_its_secrets() -> None:
    login = parse_login(
        {"auth": {"identity": {**PASSWORD, "methods": ["password", "token"], "token": {"id": "t0ken"}}}}
    )
    assert "t0ken" not in repr(login)
    assert "'p'" not in repr(login)


@pytest.mark.parametrize(
    ("scope", "parsed"),
    [
        (None, Scope("default")),
        ("unscoped", Scope("unscoped")),
        ({"unscoped": {}}, Scope("unscoped")),
        ({"project": {"id": "p"}}, Scope("project", Ref("p", None))),
        ({"project": {"name": "p", "domain": {"name": "Default"}}}, Scope("project", Ref(None, "p"))),
        ({"domain": {"id": "default"}}, Scope("domain")),
    ],
)
def test_scopes(scope: Any, parsed: Scope) -> None:
    assert parse_scope(scope) == parsed


@pytest.mark.parametrize(
    "scope", [{"domain": {"id": "other"}}, {"system": {"all": True}}, {"project": {"name": "p", "domain": {"id": "x"}}}]
)
def test_scopes_that_this_site_does_not_have(scope: Any) -> None:
    with pytest.raises(Unauthorized):
        parse_scope(scope)


@pytest.mark.parametrize("scope", [{}, [], 1, {"project": 1}, {"project": {}}, {"project": {"name": "no domain"}}])
def test_what_is_no_scope(scope: Any) -> None:
    with pytest.raises(BadRequest):
        parse_scope(scope)


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(Unauthorized, match="totp"):
        parse_login({"auth": {"identity": {"methods": ["totp"]}}})
