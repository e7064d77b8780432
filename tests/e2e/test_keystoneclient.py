"""Identity through python-keystoneclient, as middleware and older programs use it."""

from collections.abc import Iterator

import pytest
from keystoneauth1.exceptions import Conflict, NotFound, Unauthorized
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from keystoneclient.v3.client import Client

from tests.e2e.live import Cloud


def client_of(cloud: Cloud) -> Client:
    auth = v3.Password(
        auth_url=f"{cloud.url}/identity/v3",
        username=cloud.user,
        password=cloud.password,
        project_name=cloud.project,
        user_domain_id="default",
        project_domain_id="default",
    )
    return Client(session=Session(auth=auth))


@pytest.fixture(scope="module")
def keystone(cloud: Cloud) -> Iterator[Client]:
    client = client_of(cloud)
    yield client
    client.session.session.close()


def test_a_service_validates_the_tokens_of_users(keystone: Client, cloud: Cloud, demo: Cloud) -> None:
    """With no more than the role `service`, also tokens that have just expired."""
    service = keystone.projects.find(name="service")
    nova = keystone.users.create("kc-nova", domain="default", password="nova-pw")
    keystone.roles.grant(keystone.roles.find(name="service"), user=nova, project=service)
    theirs = client_of(Cloud(cloud.url, "kc-nova", "nova-pw", "service"))
    token = client_of(demo).session.get_token()
    validated = theirs.tokens.validate(token, allow_expired=True)
    assert (validated.username, validated.project_name, validated.role_names) == ("demo", "demo", ["member", "reader"])
    assert len(theirs.tokens.get_token_data(token)["token"]["audit_ids"]) == 1
    assert not theirs.tokens.validate(token, include_catalog=False).has_service_catalog()
    with pytest.raises(NotFound):
        theirs.tokens.validate(token[:-4] + "AAAA")
    keystone.tokens.revoke_token(token)
    with pytest.raises(NotFound, match="Failed to validate token"):
        theirs.tokens.validate(token)
    keystone.users.delete(nova)
    with pytest.raises(Unauthorized):
        theirs.tokens.validate(token)


def test_projects_with_parents_tags_and_more(keystone: Client) -> None:
    parent = keystone.projects.create("kc-p", "default", description="x", tags=["t"], color="red")
    assert parent.color == "red"
    with pytest.raises(Conflict):
        keystone.projects.create("kc-p", "default")
    child = keystone.projects.create("kc-c", "default", parent=parent)
    assert keystone.projects.get(child, parents_as_ids=True).parents == {parent.id: {"default": None}}
    assert [p["project"]["name"] for p in keystone.projects.get(child, parents_as_list=True).parents] == ["kc-p"]
    assert keystone.projects.get(parent, subtree_as_ids=True).subtree == {child.id: None}
    parent.add_tag("z")
    assert sorted(parent.list_tags()) == ["t", "z"]
    assert parent.check_tag("z")
    parent.delete_tag("z")
    assert not parent.check_tag("z")
    parent.update_tags(["q"])
    assert [p.name for p in keystone.projects.list(tags="q")] == ["kc-p"]
    parent.delete_all_tags()
    keystone.projects.delete(child)
    keystone.projects.delete(parent)


def test_grants_and_what_they_imply(keystone: Client) -> None:
    user = keystone.users.create("kc-u", domain="default", password="x", custom="v")
    assert user.custom == "v"
    role, project = keystone.roles.find(name="member"), keystone.projects.find(name="demo")
    for place in ({"project": project}, {"domain": "default"}, {"system": "all"}):
        keystone.roles.grant(role, user=user, **place)
        assert keystone.roles.check(role, user=user, **place)
        assert [r.name for r in keystone.roles.list(user=user, **place)] == ["member"]
    effective = keystone.role_assignments.list(user=user, effective=True, include_names=True)
    assert {a.role["name"] for a in effective} == {"member", "reader"}
    assert len(effective) == 6
    assert [a.scope for a in keystone.role_assignments.list(user=user, system="all")] == [{"system": {"all": True}}]
    assert keystone.inference_rules.check(keystone.roles.find(name="admin"), role)
    for place in ({"project": project}, {"domain": "default"}, {"system": "all"}):
        keystone.roles.revoke(role, user=user, **place)
    assert keystone.role_assignments.list(user=user) == []
    keystone.users.delete(user)
