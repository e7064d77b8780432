"""What 2.86 accepts of extra specs: known names with values of their kind, and everything that nobody knows."""

import pytest

from control.compute.extra_specs import EXACT, NAMESPACES, problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "blue"),
        ("ours:colour", "blue"),
        ("hide_hypervisor_id", "true"),
        ("hw:cpu_sockets", "2"),
        ("hw:cpu_realtime_mask", "^0-1"),
        ("hw:mem_page_size", "2MiB"),
        ("hw:mem_page_size", "large"),
        ("hw:numa_cpus.1", "0-3,^2"),
        ("hw:numa_mem.0", "512"),
        ("hw_rng:allowed", "True"),
        ("quota:cpu_quota", "-1"),
        ("quota:disk_read_bytes_sec", "1000"),
        ("quota:vif_inbound_average", "10"),
        ("resources:VCPU", "1"),
        ("resources1:CUSTOM_GOLD", "0"),
        ("trait:HW_CPU_X86_AVX", "required"),
        ("trait_NET:CUSTOM_FAST", "forbidden"),
        ("group_policy", "isolate"),
        ("capabilities:cpu_info:features", "<in> avx"),
        ("aggregate_instance_extra_specs:ssd", "true"),
        ("pci_passthrough:alias", "gpu:1, nic:2"),
    ],
)
def test_accepted(name: str, value: str) -> None:
    assert problem(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("hw:cpu_sockets", "0", "'0' is less than the min value of '1'."),
        ("hw:cpu_sockets", "two", "'two' is not a valid integer value."),
        ("hw:redirected_usb_ports", "99", "'99' is greater than the max value of '15'."),
        ("hw:boot_menu", "maybe", "'maybe' is not a valid boolean-like value."),
        ("hw:watchdog_action", "bark", "'bark' is not one of: none, pause, poweroff, reset, disabled."),
        ("hw:mem_page_size", "huge", "'huge' is not of the format"),
        ("hw:unheard_of", "1", "extra spec 'hw:unheard_of' does not appear to be a valid extra spec."),
        ("resources:GOLD", "1", "extra spec 'resources:GOLD' does not appear to be a valid extra spec."),
        ("trait:HW_CPU_X86_AVX", "preferred", "'preferred' is not one of: required, forbidden."),
        ("trait:UNKNOWN", "required", "extra spec 'trait:UNKNOWN' does not appear to be a valid extra spec."),
    ],
)
def test_refused(name: str, value: str, text: str) -> None:
    assert str(problem(name, value)).startswith(text)


def test_every_name_s_namespace_is_checked_for_misspellings() -> None:
    namespaces = {name.split(":")[0] for name in EXACT if ":" in name}
    assert all(NAMESPACES.fullmatch(n) for n in namespaces)
