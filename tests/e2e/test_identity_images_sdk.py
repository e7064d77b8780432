"""Identity and images through openstacksdk, as a program would use them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.exceptions import Unauthorized
from openstack import exceptions
from openstack.connection import Connection

from tests.e2e.live import Cloud


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> Iterator[Connection]:
    with cloud.sdk() as connection:
        yield connection


@pytest.fixture(scope="module")
def member(demo: Cloud) -> Iterator[Connection]:
    with demo.sdk() as connection:
        yield connection


def test_projects_users_and_roles(admin: Connection, cloud: Cloud) -> None:
    identity = admin.identity
    project = identity.create_project(name="sdk-p", description="x", tags=["a"])
    assert identity.update_project(project, description="y").description == "y"
    user = identity.create_user(name="sdk-u", password="pw-of-u", email="e@x", default_project_id=project.id)
    role = identity.find_role("member")
    identity.assign_project_role_to_user(project, user, role)
    assert identity.validate_user_has_project_role(project, user, role)
    assert [p.name for p in identity.user_projects(user)] == ["sdk-p"]
    with Cloud(cloud.url, "sdk-u", "pw-of-u", "sdk-p").sdk() as theirs:
        assert theirs.current_project_id == project.id
        identity.update_user(user, is_enabled=False)
        with pytest.raises(Unauthorized):  # a disabled user's token ends at once, and there is no other
            next(theirs.image.images())
    identity.assign_domain_role_to_user("default", user, role)
    assert identity.validate_user_has_domain_role("default", user, role)
    identity.unassign_domain_role_from_user("default", user, role)
    identity.assign_system_role_to_user(user, role, "all")
    assert identity.validate_user_has_system_role(user, role, "all")
    identity.unassign_system_role_from_user(user, role, "all")
    found = list(identity.role_assignments(user_id=user.id, include_names=True))
    assert [(a.role["name"], a.scope["project"]["name"]) for a in found] == [("member", "sdk-p")]
    identity.unassign_project_role_from_user(project, user, role)
    assert not identity.validate_user_has_project_role(project, user, role)
    identity.delete_user(user)
    identity.delete_project(project)
    with pytest.raises(exceptions.NotFoundException, match="Could not find project"):
        identity.get_project(project.id)
    assert {s.type for s in identity.services()} >= {"compute", "image"}
    assert {e.interface for e in identity.endpoints()} == {"public", "internal", "admin"}


def test_application_credentials(member: Connection) -> None:
    identity, me = member.identity, member.current_user_id
    made = identity.create_application_credential(user=me, name="sdk-app", roles=[{"name": "reader"}])
    assert made.secret
    assert identity.find_application_credential(user=me, name_or_id="sdk-app").id == made.id
    with pytest.raises(exceptions.ConflictException, match="Duplicate entry found with name sdk-app"):
        identity.create_application_credential(user=me, name="sdk-app")
    rule = {"path": "/v2.1/servers", "method": "GET", "service": "compute"}
    with pytest.raises(exceptions.BadRequestException, match="access rules"):
        identity.create_application_credential(user=me, name="narrow", access_rules=[rule])
    identity.delete_application_credential(me, made)
    assert list(identity.application_credentials(user=me)) == []


def test_images(member: Connection, tmp_path: Path) -> None:
    images, disk = member.image, tmp_path / "disk"
    disk.write_bytes(os.urandom(600_000))
    raw: dict[str, Any] = {"disk_format": "raw", "container_format": "bare"}
    image = member.create_image("sdk-i", filename=str(disk), wait=True, color="red", **raw)
    assert (image.status, image.size) == ("active", 600_000)
    images.update_image(image, name="sdk-j", visibility="community")
    images.add_tag(image, "t")
    images.remove_tag(image, "t")
    images.deactivate_image(image)
    images.reactivate_image(image)
    images.update_image(image, visibility="shared")
    images.add_member(image, member_id="somebody")
    assert [m.status for m in images.members(image)] == ["pending"]
    images.remove_member("somebody", image)
    assert images.download_image(image, stream=False).content == disk.read_bytes()
    part = images.get(f"/images/{image.id}/file", headers={"Range": "bytes=262140-262150"})
    assert (part.status_code, part.content) == (206, disk.read_bytes()[262140:262151])
    since = {"created_at": "gt:2020-01-01T00:00:00Z", "id": f"in:{image.id}", "size_min": 10, "sort": "name:asc"}
    assert [i.id for i in images.images(limit=1, **since)] == [image.id]
    assert list(images.images(updated_at="lt:2020-01-01T00:00:00Z")) == []
    images.create_image("sdk-staged", allow_duplicates=True, **raw)
    staged = images.find_image("sdk-staged")
    images.stage_image(staged, filename=str(disk))
    images.import_image(staged)
    assert images.find_image("sdk-staged").checksum == images.find_image("sdk-j").checksum
    images.delete_image(image)
    images.delete_image(staged)
    for schema in ("images", "image", "members", "member", "tasks", "task"):
        assert getattr(images, f"get_{schema}_schema")().name == schema
    assert images.get_import_info().import_methods["value"] == ["glance-direct"]
