"""The body of a login: every form that clients send, and the answers to what is none."""

from typing import Any

import pytest

from control.identity.login import AppLogin, Ref, Scope, parse_login, parse_scope
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
        ({"system": {"all": True}}, Scope("system")),
    ],
)
def test_scopes(scope: Any, parsed: Scope) -> None:
    assert parse_scope(scope) == parsed


@pytest.mark.parametrize("scope", [{"domain": {"id": "other"}}, {"project": {"name": "p", "domain": {"id": "x"}}}])
def test_scopes_that_this_site_does_not_have(scope: Any) -> None:
    with pytest.raises(Unauthorized):
        parse_scope(scope)


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ({}, "Expecting to find project, domain, OS-TRUST:trust or unscoped in scope"),
        ({"project": {"id": "p"}, "domain": {"id": "default"}}, "Expecting to find project, domain"),
        ([], "Invalid input for field 'scope'"),
        (1, "Invalid input for field 'scope'"),
        ({"project": 1}, "Invalid input for field 'scope/project'"),
        ({"project": {}}, "Invalid input for field scope/project: id or name must be present"),
        ({"project": {"name": "no domain"}}, "Expecting to find domain in project"),
        ({"system": {"all": False}}, "Expecting to find system"),
    ],
)
def test_what_is_no_scope(scope: Any, says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_login({"auth": {"identity": PASSWORD, "scope": scope}})
    assert refused.value.message.startswith(says)


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(Unauthorized, match=r"unsupported method\."):
        parse_login({"auth": {"identity": {"methods": ["totp"], "totp": {}}}})


def test_an_application_credential_by_id_or_by_name_and_user() -> None:
    by_id = {"methods": ["application_credential"], "application_credential": {"id": "a", "secret": "s3cret"}}
    login = parse_login({"auth": {"identity": by_id}})
    assert login.app == AppLogin(Ref("a", None), None, "s3cret")
    assert "s3cret" not in repr(login)
    named = {"name": "a", "secret": "s", "user": {"id": "u"}}
    by_name = {"methods": ["application_credential"], "application_credential": named}
    assert parse_login({"auth": {"identity": by_name}}).app == AppLogin(Ref(None, "a"), Ref("u", None), "s")
    with pytest.raises(Unauthorized, match="cannot request a scope"):
        parse_login({"auth": {"identity": by_id, "scope": {"project": {"id": "p"}}}})
    for missing in ("name", "user", "secret"):
        with pytest.raises(BadRequest):
            parse_login(
                {"auth": {"identity": {**by_name, "application_credential": {
                    key: value for key, value in named.items() if key != missing}}}}
            )  # fmt: skip
