"""Filters, one by one, and the operators of extra specs."""

import pytest
from unit_hosts import Sketch, asked, model_of
from unit_records import facts, flavor, spec

from control.scheduler.filters.compute import capabilities, matches
from control.scheduler.filters.images import properties as image_properties
from control.scheduler.filters.table import UnknownFilterError, load_filters
from control.scheduler.model import HostState
from schemas.guest import HostFacts
from schemas.server import ImageRef


def state(about: HostFacts) -> HostState:
    return model_of([Sketch("a", facts=about)]).hosts["a"]


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("x", "x", True),
        ("x", "y", False),
        ("= 3", "3", True),
        ("= 3", "4", True),
        ("= 3", "2", False),
        ("== 3", "3.0", True),
        ("== 3", "4", False),
        ("!= 3", "4", True),
        ("!= 3", "3", False),
        (">= 3", "10", True),
        (">= 3", "2.9", False),
        ("<= 3", "3", True),
        ("<= 3", "10", False),
        (">= 3", "many", False),
        ("s== 3", "3", True),
        ("s== 3", "3.0", False),
        ("s!= 3", "3.0", True),
        ("s>= b", "b", True),
        ("s> b", "c", True),
        ("s> b", "b", False),
        ("s<= 10", "9", False),
        ("s< b", "a", True),
        ("<in> vx", "avx2", True),
        ("<in> sse", "avx2", False),
        ("<all-in> aes mmx", "['aes', 'mmx', 'sse']", True),
        ("<all-in> aes avx", "['aes', 'mmx']", False),
        ("<or> qemu <or> kvm", "kvm", True),
        ("<or> qemu <or> kvm", "xen", False),
        (">=", ">=", False),
        ("<in> avx sse", "avx2", True),
        ("<in>", "avx2", False),
        ("<all-in>", "['aes']", False),
        ("<or>", "kvm", False),
        (">= 2", "two", False),
        ("> 2", "3", False),
        ("", "", True),
        ("", "x", False),
        ("two words", "two words", True),
    ],
)
def test_the_operators_of_extra_specs(wanted: str, found: str, expected: bool) -> None:
    assert matches(wanted, found) is expected


@pytest.mark.parametrize(
    ("extra_specs", "reason"),
    [
        ({}, None),
        ({"capabilities:hypervisor_type": "QEMU"}, None),
        ({"hypervisor_type": "QEMU"}, None),
        ({"hypervisor_type": "<or> QEMU <or> KVM"}, None),
        ({"capabilities:hypervisor_version": ">= 7000000"}, None),
        ({"capabilities:model": "qemu64"}, "lacks capability model qemu64"),
        ({"model": "for another filter"}, None),
        ({"capabilities:nodename": "<or> a <or> hv.a"}, "lacks capability nodename <or> a <or> hv.a"),
        ({"capabilities:host_ip": "s== 127.0.0.1"}, None),
        ({"capabilities:cpu_info:features": "<all-in> aes"}, None),
        ({"capabilities:free_ram_mb": ">= 1", "capabilities:disk_mb_used": "== 0"}, None),
        ({"capabilities:hypervisor_type": "xen"}, "lacks capability hypervisor_type xen"),
        ({"capabilities:unheard_of": "1"}, "lacks capability unheard_of 1"),
        ({"unheard_of": "1"}, None),
        ({"hypervisor_type": "xen"}, "lacks capability hypervisor_type xen"),
        ({"capabilities:cpu_info:model": "qemu64"}, None),
        ({"capabilities:cpu_info:model:deeper": "qemu64"}, "lacks capability cpu_info:model:deeper qemu64"),
        ({"hw:cpu_policy": "dedicated", "resources:VCPU": "2", "trait:X": "required"}, None),
    ],
)
def test_capabilities(extra_specs: dict[str, str], reason: str | None) -> None:
    request = spec(flavor=flavor(extra_specs=extra_specs))
    about = facts(cpu_info={"model": "qemu64", "features": ["aes"]})
    assert capabilities(state(about), asked(request)) == reason


@pytest.mark.parametrize(
    ("properties", "host", "reason"),
    [
        ({}, {}, None),
        ({"hw_architecture": "x86_64"}, {}, None),
        ({"architecture": "aarch64"}, {}, "has no architecture aarch64"),
        ({"hw_architecture": "aarch64"}, {"architectures": ("x86_64", "aarch64")}, None),
        ({"hw_architecture": "AMD64"}, {}, None),
        ({"hw_architecture": "arm64"}, {}, "has no architecture arm64"),
        ({"img_hv_requested_version": ">=99"}, {}, None),  # Nova looks at it beside other properties only
        ({"hw_vm_mode": "hvm", "img_hv_requested_version": ">=99"}, {}, "is not of hypervisor version >=99"),
        ({"hw_vm_mode": "xen"}, {}, "has no vm mode xen"),
        ({"img_hv_type": "qemu"}, {}, None),
        ({"hypervisor_type": "QEMU"}, {"hypervisor_type": "KVM"}, None),
        ({"img_hv_type": "kvm"}, {}, "is not of hypervisor type kvm"),
        ({"img_hv_type": "xen"}, {}, "is not of hypervisor type xen"),
    ],
)
def test_image_properties(properties: dict[str, str], host: dict[str, object], reason: str | None) -> None:
    request = spec(image=ImageRef("i", properties=properties))
    assert image_properties(state(facts(**host)), asked(request)) == reason
    assert image_properties(state(facts(**host)), asked(spec())) is None


def test_filters_are_loaded_by_name_in_order() -> None:
    chosen = ("ImagePropertiesFilter", "ComputeFilter")
    assert tuple(load_filters(chosen)) == chosen
    with pytest.raises(
        UnknownFilterError,
        match=r"no filter is called MyFilter: .*; known are AllHosts",
    ):
        load_filters(("MyFilter",))
