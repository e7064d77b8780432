"""`openstack token|catalog|project|user|role|...` typed as an operator types them, and what is shown."""

import json
from typing import Any

from tests.e2e.live import PASSWORD, Cloud


def named(rows: list[dict[str, Any]]) -> set[str]:
    return {row["Name"] for row in rows}


def test_tokens_and_the_catalog(cloud: Cloud, demo: Cloud) -> None:
    token = cloud.json("token", "issue")
    assert set(token) == {"expires", "id", "project_id", "user_id"}
    assert {service["Name"] for service in cloud.json("catalog", "list")} >= {"nova", "glance", "keystone"}
    assert cloud.json("catalog", "show", "compute")["name"] == "nova"
    with_token = [
        *("--os-auth-type", "token", "--os-auth-url", f"{cloud.url}/identity/v3", "--os-token", token["id"]),
        *("--os-project-id", token["project_id"]),
    ]
    again = cloud.run("token", "issue", "-f", "json", options=with_token)
    assert again.json["user_id"] == token["user_id"]
    cloud.ok("token", "revoke", token["id"])
    refused = cloud.run("token", "issue", options=with_token)
    assert "HTTP 404" in refused.err, "a revoked token gets no other, in Keystone's words"
    assert "Could not recognize Fernet token" in cloud.refused("token", "revoke", "gAAAA")
    others = demo.json("token", "issue")["id"]
    cloud.ok("token", "revoke", others)
    assert "HTTP 401" in demo.run("token", "issue", options=[*demo.options, "--os-password", "wrong"]).err


def test_scopes(cloud: Cloud) -> None:
    who = [
        *("--os-auth-url", f"{cloud.url}/identity/v3", "--os-username", "admin", "--os-password", PASSWORD),
        *("--os-user-domain-name", "Default"),
    ]
    system = cloud.run("token", "issue", "-f", "json", options=[*who, "--os-system-scope", "all"])
    assert system.json["system"] == "all"
    assert "project_id" not in system.json
    domain = cloud.run("token", "issue", "-f", "json", options=[*who, "--os-domain-id", "default"])
    assert domain.json["domain_id"] == "default"
    listed = cloud.run("user", "list", "-f", "json", options=[*who, "--os-system-scope", "all"])
    assert "demo" in named(listed.json)


def test_projects(cloud: Cloud, demo: Cloud) -> None:
    made = cloud.json("project", "create", "--description", "d", "--property", "a=b", "--tag", "x", "cli-p1")
    assert (made["description"], made["tags"], made["parent_id"]) == ("d", ["x"], "default")
    cloud.ok("project", "set", "--name", "cli-p2", "--tag", "y", "--property", "c=d", "--disable", "cli-p1")
    shown = cloud.json("project", "show", "cli-p2")
    assert (shown["name"], shown["enabled"], shown["a"], shown["c"]) == ("cli-p2", False, "b", "d")
    assert set(shown["tags"]) == {"x", "y"}
    assert cloud.json("project", "create", "--or-show", "cli-p2")["id"] == made["id"]
    assert "409" in cloud.refused("project", "create", "cli-p2")
    assert named(cloud.json("project", "list", "--tags", "x,y")) == {"cli-p2"}
    cloud.ok("project", "set", "--enable", "cli-p2")
    child = cloud.json("project", "create", "--parent", "cli-p2", "cli-child")
    assert child["parent_id"] == made["id"]
    assert named(cloud.json("project", "list", "--parent", "cli-p2")) == {"cli-child"}
    assert child["id"] in cloud.ok("project", "show", "--children", "cli-p2")
    assert made["id"] in cloud.ok("project", "show", "--parents", "cli-child")
    assert "not a leaf in the hierarchy" in cloud.refused("project", "delete", "cli-p2")
    cloud.ok("project", "delete", "cli-child", "cli-p2")
    assert not named(cloud.json("project", "list", "--long")) & {"cli-child", "cli-p2"}
    assert named(demo.json("project", "list", "--my-projects")) == {"demo"}
    assert named(demo.json("project", "list")) == {"demo"}, "the client falls back to one's own"
    assert "identity:create_project" in demo.refused("project", "create", "mine")


def test_users_and_their_roles(cloud: Cloud, demo: Cloud) -> None:
    user = cloud.json(
        *("user", "create", "--password", "s3cret", "--email", "a@b.c", "--description", "hey", "--project", "demo"),
        "cli-u1",
    )
    assert (user["email"], user["description"], user["enabled"]) == ("a@b.c", "hey", True)
    mine = Cloud(cloud.url, "cli-u1", "s3cret", "demo")
    assert "HTTP 401" in mine.refused("token", "issue"), "no role yet"
    cloud.ok("role", "add", "--user", "cli-u1", "--project", "demo", "member")
    mine.ok("token", "issue")
    direct = cloud.json("role", "assignment", "list", "--user", "cli-u1", "--names")
    assert [(row["Role"], row["Project"]) for row in direct] == [("member", "demo@Default")]
    effective = cloud.json("role", "assignment", "list", "--user", "cli-u1", "--names", "--effective")
    assert {row["Role"] for row in effective} == {"member", "reader"}
    cloud.ok("role", "add", "--user", "cli-u1", "--domain", "default", "reader")
    cloud.ok("role", "add", "--user", "cli-u1", "--system", "all", "reader")
    places = cloud.json("role", "assignment", "list", "--user", "cli-u1", "--names")
    assert {(row["Project"], row["Domain"], row["System"]) for row in places} == {
        ("demo@Default", "", ""), ("", "Default", ""), ("", "", "all"),
    }  # fmt: skip
    assert cloud.json("role", "assignment", "list", "--project", "demo", "--role", "member", "--user", "cli-u1")
    assert cloud.json("role", "assignment", "list", "--auth-user", "--auth-project", "--names")
    cloud.ok("role", "remove", "--user", "cli-u1", "--system", "all", "reader")
    cloud.ok("role", "remove", "--user", "cli-u1", "--domain", "default", "reader")
    assert "identity:list_role_assignments" in demo.refused("role", "assignment", "list")
    mine.ok("user", "password", "set", "--original-password", "s3cret", "--password", "n3w")
    assert "HTTP 401" in mine.refused("token", "issue")
    mine = Cloud(cloud.url, "cli-u1", "n3w", "demo")
    mine.ok("token", "issue")
    cloud.ok("user", "set", "--disable", "--email", "z@b.c", "cli-u1")
    assert "HTTP 401" in mine.refused("token", "issue")
    assert cloud.json("user", "show", "cli-u1")["email"] == "z@b.c"
    assert "cli-u1" in named(cloud.json("user", "list", "--long"))
    assert "cli-u1" in named(cloud.json("user", "list", "--project", "demo"))
    cloud.ok("role", "remove", "--user", "cli-u1", "--project", "demo", "member")
    cloud.ok("user", "delete", "cli-u1")
    assert "No User found" in cloud.refused("user", "show", "cli-u1")


def test_roles(cloud: Cloud) -> None:
    assert named(cloud.json("role", "list")) >= {"admin", "manager", "member", "reader", "service"}
    made = cloud.json("role", "create", "cli-r1", "--description", "hey")
    cloud.ok("role", "set", "cli-r1", "--name", "cli-r2")
    assert cloud.json("role", "show", "cli-r2")["id"] == made["id"]
    cloud.ok("role", "delete", "cli-r2")
    rules = {(row["Prior Role Name"], row["Implied Role Name"]) for row in cloud.json("implied", "role", "list")}
    assert {("admin", "manager"), ("manager", "member"), ("member", "reader")} <= rules


def test_options_of_projects_roles_and_users(cloud: Cloud) -> None:
    made = cloud.json("project", "create", "--immutable", "cli-fixed")
    assert made["options"] == {"immutable": True}
    assert "Unable to delete immutable project" in cloud.refused("project", "delete", "cli-fixed")
    assert "Unable to update immutable project" in cloud.refused("project", "set", "--name", "x", "cli-fixed")
    cloud.ok("project", "set", "--no-immutable", "cli-fixed")
    cloud.ok("project", "delete", "cli-fixed")
    assert "Unable to delete immutable role" in cloud.refused("role", "delete", "reader")
    cloud.ok("role", "create", "--immutable", "cli-fixed")
    assert "Unable to update immutable role" in cloud.refused("role", "set", "--name", "x", "cli-fixed")
    cloud.ok("role", "set", "--no-immutable", "cli-fixed")
    cloud.ok("role", "delete", "cli-fixed")
    user = ("--password", "first", "--enable-lock-password", "--multi-factor-auth-rule", "password,token")
    cloud.ok("user", "create", *user, "--project", "demo", "cli-locked")
    assert cloud.json("user", "show", "cli-locked")["options"] == {
        "lock_password": True, "multi_factor_auth_rules": [["password", "token"]],
    }  # fmt: skip
    cloud.ok("role", "add", "--user", "cli-locked", "--project", "demo", "member")
    theirs = Cloud(cloud.url, "cli-locked", "first", "demo")
    assert "HTTP 401" in theirs.refused("token", "issue"), "a password alone is not enough"
    cloud.ok("user", "set", "--disable-multi-factor-auth", "cli-locked")
    change = ("user", "password", "set", "--original-password", "first", "--password", "second")
    assert "password policy disallowing password changes" in theirs.refused(*change)
    cloud.ok("user", "set", "--disable-lock-password", "cli-locked")
    theirs.ok(*change)
    cloud.ok("user", "delete", "cli-locked")


def test_application_credentials(demo: Cloud, cloud: Cloud) -> None:
    made = demo.json(
        *("application", "credential", "create", "cli-app", "--description", "for cron", "--role", "reader"),
        *("--expiration", "2100-01-01T00:00:00"),
    )
    assert made["Description"] == "for cron"
    assert [row["Name"] for row in demo.json("application", "credential", "list")] == ["cli-app"]
    assert "Secret" not in demo.json("application", "credential", "show", "cli-app")
    for who in (
        ["--os-application-credential-id", made["ID"]],
        ["--os-application-credential-name", "cli-app", "--os-username", "demo", "--os-user-domain-name", "Default"],
    ):
        options = [
            *("--os-auth-type", "v3applicationcredential", "--os-auth-url", f"{cloud.url}/identity/v3"),
            *("--os-application-credential-secret", made["Secret"], *who),
        ]
        token = cloud.run("token", "issue", "-f", "json", options=options)
        assert token.code == 0, token.err
        assert token.json["project_id"] == demo.json("token", "issue")["project_id"]
        images = cloud.run(
            "image", "create", "--disk-format", "raw", "--container-format", "bare", "no", options=options
        )
        assert "403" in images.err, "a reader's credential writes nothing"
        more = cloud.run("application", "credential", "create", "more", options=options)
        assert "not allowed for managing additional application credentials" in more.err
    demo.ok("application", "credential", "delete", "cli-app")
    gone = cloud.run("token", "issue", options=options)
    assert "HTTP 401" in gone.err
    free = demo.json("application", "credential", "create", "cli-free", "--unrestricted", "--secret", "hunter2hunter2")
    assert free["Secret"] == "hunter2hunter2"
    more = demo.refused("application", "credential", "create", "cli-admin", "--role", "admin")
    assert "Invalid application credential: Could not find role assignment" in more
    demo.ok("application", "credential", "delete", "cli-free")


def test_domains_services_endpoints_and_regions(cloud: Cloud) -> None:
    assert [(d["ID"], d["Name"]) for d in cloud.json("domain", "list")] == [("default", "Default")]
    assert cloud.json("domain", "show", "default")["name"] == "Default"
    assert "one domain" in cloud.refused("domain", "create", "other")
    assert {s["Type"] for s in cloud.json("service", "list", "--long")} >= {"compute", "identity", "image"}
    assert cloud.json("service", "show", "nova")["type"] == "compute"
    endpoints = cloud.json("endpoint", "list", "--service", "compute", "--interface", "public")
    assert [e["URL"] for e in endpoints] == [f"{cloud.url}/compute/v2.1"]
    assert cloud.json("endpoint", "show", endpoints[0]["ID"])["service_type"] == "compute"
    assert [r["Region"] for r in cloud.json("region", "list")] == ["RegionOne"]
    assert cloud.json("region", "show", "RegionOne")["region"] == "RegionOne"
    for nothing in ("group list", "limit list", "registered limit list", "access rule list"):
        assert json.loads(cloud.ok(*nothing.split(), "-f", "json")) == []
    assert "admin not in group g" in cloud.run("group", "contains", "user", "g", "admin").err
    assert named(cloud.json("federation", "domain", "list")) == {"Default"}
    assert named(cloud.json("federation", "project", "list")) == {"admin"}
