"""What the image asks of a host."""

from collections.abc import Iterable
from typing import Final

from control.scheduler.columns import Column
from control.scheduler.filters.compute import matches
from control.scheduler.filters.shapes import HostFilter, MaskFilter
from control.scheduler.model import HostState, Model
from control.scheduler.request import Request

KEYS: Final = frozenset(
    {
        *("hw_architecture", "architecture", "img_hv_type", "hypervisor_type", "img_hv_requested_version"),
        *("hypervisor_version_requires", "hw_vm_mode", "vm_mode"),
    }
)

ARCHITECTURES: Final = {
    **dict.fromkeys(("amd64", "x64"), "x86_64"),
    **dict.fromkeys(("x86", "i386", "i486", "i586", "ia32"), "i686"),
    "arm64": "aarch64",
}
"""other names of architectures"""


def properties(state: HostState, request: Request) -> str | None:
    """Architecture, hypervisor type and version, and virtual machine mode."""
    wanted, facts = request.properties, state.facts
    if facts is None:
        return None
    default = request.settings.filter_scheduler.image_properties_default_architecture
    arch = wanted.get("hw_architecture") or wanted.get("architecture") or default
    if arch and ARCHITECTURES.get(arch.lower(), arch.lower()) not in facts.architectures:
        return f"has no architecture {arch}"
    kind = wanted.get("img_hv_type") or wanted.get("hypervisor_type")
    if kind and kind.lower() not in _types(facts.hypervisor_type):
        return f"is not of hypervisor type {kind}"
    mode = wanted.get("hw_vm_mode") or wanted.get("vm_mode")
    if mode and mode.lower() not in ("hvm", "hv", "baremetal"):
        return f"has no vm mode {mode}"
    version = wanted.get("img_hv_requested_version") or wanted.get("hypervisor_version_requires")
    if not (arch or kind or mode):
        return None  # a version of whatever says nothing
    if version and not _version_fits(version, facts.hypervisor_version):
        return f"is not of hypervisor version {version}"
    return None


def _types(reported: str) -> tuple[str, ...]:
    """QEMU's driver runs guests of both kinds when it has KVM."""
    return ("kvm", "qemu") if reported.lower() == "kvm" else (reported.lower(),)


def _version_fits(wanted: str, found: int) -> bool:
    """Comma-separated comparisons such as `>=6.0,<8.2` against a version number of three digits a part."""
    for one in wanted.split(","):
        sign = "".join(c for c in one if c in "<>=!") or "=="
        try:
            parts = [int(p) for p in one.strip(" <>=!").split(".")]
        except ValueError:
            return False
        number = sum(part * 1000 ** (2 - i) for i, part in enumerate(parts[:3]))
        if sign in ("<", ">"):
            fits = found < number if sign == "<" else found > number
        else:
            fits = matches(f"{'==' if sign == '=' else sign} {number}", str(found))
        if not fits:
            return False
    return True


def _wanted(request: Request) -> bool:
    asked = not KEYS.isdisjoint(request.properties)
    return asked or bool(request.settings.filter_scheduler.image_properties_default_architecture)


def isolated(model: Model, request: Request) -> Iterable[tuple[str, Column]]:
    """Isolated images run on isolated hosts only, and unless allowed nothing else does."""
    options = request.settings.filter_scheduler
    hosts = model.only(options.isolated_hosts)
    image = request.spec.image.id if request.spec.image else ""
    if image in options.isolated_images:
        yield "not an isolated host", ~hosts
    elif options.restrict_isolated_hosts_to_isolated_images:
        yield "an isolated host", hosts


def _isolation(request: Request) -> bool:
    options = request.settings.filter_scheduler
    return bool(options.isolated_hosts or options.isolated_images)


FILTERS: Final[dict[str, HostFilter | MaskFilter]] = {
    "ImagePropertiesFilter": HostFilter(properties, wanted=_wanted, on_rebuild=True),
    "IsolatedHostsFilter": MaskFilter(isolated, wanted=_isolation, on_rebuild=True),
}
