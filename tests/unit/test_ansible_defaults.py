"""What the roles set up unless they are told otherwise: nothing that listens on a network does so without TLS.

By the defaults of before, etcd and NATS were open to their network, tokens and passwords went over plain HTTP, and the
example's password of the administrator was accepted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ANSIBLE = Path(__file__).parents[2] / "ansible"
ROLES = ANSIBLE / "roles"


def loaded(*parts: str) -> Any:
    return yaml.safe_load(ANSIBLE.joinpath(*parts).read_text())


def test_everything_has_certificates_and_plain_text_is_not_allowed() -> None:
    common = loaded("roles", "common", "defaults", "main.yml")
    assert common["kilonova_allow_plaintext"] is False
    assert set(common["etcd_tls"]) == set(common["kilonova_site_tls"]) == {"ca", "cert", "key"}
    assert common["nats_tls"] == common["api_tls"] == "{{ kilonova_site_tls }}"


def test_a_hypervisors_certificate_opens_nothing_of_etcd() -> None:
    """etcd trusts the authority `store` alone, which signs for no hypervisor."""
    common = loaded("roles", "common", "defaults", "main.yml")
    assert "store-ca" in common["etcd_tls"]["ca"]
    signed = [
        (play["hosts"].split(":"), role["certificates_of"])
        for play in loaded("site.yml")
        for role in play.get("roles", [])
        if isinstance(role, dict) and role["role"] == "certificates"
    ]
    assert (["etcd", "control"], ["store"]) in signed
    assert not [hosts for hosts, authorities in signed if "hypervisors" in hosts and "store" in authorities]


@pytest.mark.parametrize("role", ["etcd", "nats"])
def test_a_role_refuses_to_go_on_without_tls(role: str) -> None:
    (first, *_) = loaded("roles", role, "tasks", "main.yml")
    assert first["ansible.builtin.assert"]["that"] == f"{role}_tls | length > 0 or kilonova_allow_plaintext | bool"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("etcd/templates/etcd.service.j2", "--client-cert-auth --trusted-ca-file={{ etcd_tls.ca }}"),
        ("etcd/templates/etcd.service.j2", "--peer-client-cert-auth"),
        ("nats/templates/nats-server.conf.j2", "verify: true"),
        ("control/templates/kilonova.toml.j2", 'tls_cert = "{{ api_tls.cert }}"'),
        ("control/templates/kilonova.toml.j2", "allow_plaintext = {{ kilonova_allow_plaintext | bool | lower }}"),
    ],
)
def test_what_listens_asks_for_tls(template: str, said: str) -> None:
    assert said in (ROLES / template).read_text()


def test_a_site_has_to_say_a_password_of_its_own() -> None:
    assert "kilonova_admin_password" not in loaded("inventory", "example", "group_vars", "all.yml")
    (check,) = loaded("site.yml")[0]["tasks"]
    assert "kilonova_admin_password | length >= 12" in check["ansible.builtin.assert"]["that"]
