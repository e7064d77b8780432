"""Which of a guest's processors are pinned, and how: Nova's rules for `hw:cpu_*` and what goes with it. Pure.

Raises BadRequest, in Nova's words, where flavor and image contradict each other or themselves.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeVar, get_args

from attrs import frozen

from schemas.errors import BadRequest
from schemas.topology import cpu_set

CpuPolicy = Literal["dedicated", "shared", "mixed"]
ThreadPolicy = Literal["prefer", "isolate", "require"]
EmulatorPolicy = Literal["share", "isolate"]
Specs = Mapping[str, str]
W = TypeVar("W", bound=str)

_HYPERTHREADING: Final = re.compile(r"trait([1-9][0-9]*)?:HW_CPU_HYPERTHREADING")
_AMOUNT: Final = re.compile(r"resources([1-9][0-9]*)?:(VCPU|PCPU)")
_YES: Final = frozenset({"1", "t", "true", "on", "y", "yes"})


@frozen
class Pinning:
    """`dedicated` are the guest's processors that are pinned. `policy` is None when only `resources:` said so, or
    nothing did."""

    policy: CpuPolicy | None = None
    dedicated: frozenset[int] = frozenset()
    threads: ThreadPolicy = "prefer"
    emulator: int = 0
    """dedicated processors more, for the emulator's own threads"""


def pinning_of(vcpus: int, specs: Specs, properties: Specs) -> Pinning:
    """`specs` are the flavor's, `properties` the image's."""
    said = cpu_policy(specs, properties)
    emulator = _word("hw:emulator_threads_policy", specs, get_args(EmulatorPolicy), _bad_emulator)
    policy = _effective(said, vcpus, specs, emulator)
    threads = _threads(specs, properties)
    realtime = _realtime(vcpus, specs, properties, emulator)
    mask = _mask(vcpus, specs)
    if policy in ("shared", None):
        if threads is not None:
            raise BadRequest("Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy")
        if emulator == "isolate":
            raise BadRequest("An isolated CPU emulator threads option requires a dedicated CPU policy option.")
        if realtime:
            raise BadRequest("Cannot set realtime policy in a non dedicated cpu pinning policy")
    if policy != "mixed" and mask:
        raise BadRequest("Cannot specify 'hw:cpu_dedicated_mask' without the 'mixed' policy.")
    if policy == "mixed" and bool(mask) == bool(realtime):
        raise BadRequest(
            "Dedicated CPU set can be specified from either 'hw:cpu_dedicated_mask' or 'hw:cpu_realtime_mask' when "
            "using 'mixed' CPU policy. 'hw:cpu_dedicated_mask' and 'hw:cpu_realtime_mask' can not be specified at the "
            "same time, or be specified with none of them."
        )
    everything = frozenset(range(vcpus))
    dedicated = {"dedicated": everything, "mixed": mask or realtime}.get(policy or "", frozenset())
    isolated = 1 if dedicated and emulator == "isolate" else 0
    return Pinning(said, dedicated, threads or "prefer", isolated)


def cpu_policy(specs: Specs, properties: Specs) -> CpuPolicy | None:
    """The flavor's wins, and forbids an image that asks for more dedicated processors than it does."""
    ours = _word("hw:cpu_policy", specs, get_args(CpuPolicy), _bad_policy("CPU", "flavor extra specs"))
    theirs = _word("hw_cpu_policy", properties, get_args(CpuPolicy), _bad_policy("CPU", "image properties"))
    if (ours == "mixed" and theirs == "dedicated") or (ours == "shared" and theirs in ("mixed", "dedicated")):
        raise BadRequest(
            "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor"
        )
    return ours or theirs  # type: ignore[return-value]  # one of the literals


def thread_policy(specs: Specs, properties: Specs) -> ThreadPolicy | None:
    """The image may say more than a flavor that says nothing or `prefer`."""
    words = get_args(ThreadPolicy)
    ours = _word("hw:cpu_thread_policy", specs, words, _bad_policy("CPU thread", "flavor extra specs"))
    theirs = _word("hw_cpu_thread_policy", properties, words, _bad_policy("CPU thread", "image properties"))
    if ours in ("isolate", "require") and theirs and theirs != ours:
        raise BadRequest(
            "Image property 'hw_cpu_thread_policy' is not permitted to override CPU thread pinning policy set against "
            "the flavor"
        )
    return (ours if ours != "prefer" else None) or theirs or ours  # type: ignore[return-value]  # one of the literals


def _effective(said: CpuPolicy | None, vcpus: int, specs: Specs, emulator: str | None) -> CpuPolicy | None:
    """`resources:PCPU` is another way to say dedicated."""
    asked = {"VCPU": 0, "PCPU": 0}
    for name, value in specs.items():
        match = _AMOUNT.fullmatch(name)
        if match and value.isdecimal():
            asked[match[2]] += int(value)
    if said and any(asked.values()):
        raise BadRequest(
            "It is not possible to use the 'resources:VCPU' or 'resources:PCPU' extra specs in combination with the "
            "'hw:cpu_policy' extra spec or 'hw_cpu_policy' image metadata property; use one or the other"
        )
    if all(asked.values()):
        raise BadRequest(
            "It is not possible to specify both 'resources:VCPU' and 'resources:PCPU' extra specs; use one or the other"
        )
    if not asked["PCPU"]:
        return "shared" if asked["VCPU"] else said
    if emulator == "isolate" and asked["PCPU"] != vcpus + 1:
        raise BadRequest(
            "You have requested 'hw:emulator_threads_policy=isolate' but have not requested sufficient PCPUs to handle "
            "this policy; you must allocate exactly flavor.vcpus + 1 PCPUs."
        )
    if emulator != "isolate" and asked["PCPU"] != vcpus:
        raise BadRequest(
            "There is a mismatch between the number of PCPUs requested via 'resourcesNN:PCPU' and the flavor); you "
            "must allocate exactly flavor.vcpus PCPUs"
        )
    return "dedicated"


def _threads(specs: Specs, properties: Specs) -> ThreadPolicy | None:
    """A trait is another way to say it."""
    said = thread_policy(specs, properties)
    trait = next((value for name, value in specs.items() if _HYPERTHREADING.fullmatch(name)), None)
    if trait is None and properties.get("trait:HW_CPU_HYPERTHREADING") == "required":
        trait = "required"
    if said and trait:
        raise BadRequest(
            "It is not possible to use the 'trait:HW_CPU_HYPERTHREADING' extra spec in combination with the "
            "'hw:cpu_thread_policy' extra spec or 'hw_cpu_thread_policy' image metadata property; use one or the other"
        )
    by_trait: dict[str | None, ThreadPolicy] = {"forbidden": "isolate", "required": "require"}
    return by_trait.get(trait, said)


def _mask(vcpus: int, specs: Specs) -> frozenset[int]:
    text = specs.get("hw:cpu_dedicated_mask")
    if not text:
        return frozenset()
    found, everything = masked(text, vcpus), frozenset(range(vcpus))
    if not found or found >= everything:
        raise BadRequest(
            "Mixed instance must have at least 1 pinned vCPU and 1 unpinned vCPU. See 'hw:cpu_dedicated_mask'."
        )
    if not found <= everything:
        raise BadRequest(
            'Mixed instance dedicated vCPU(s) mask is not a subset of vCPUs in the flavor. See "hw:cpu_dedicated_mask"'
        )
    return found


def _realtime(vcpus: int, specs: Specs, properties: Specs, emulator: str | None) -> frozenset[int]:
    if specs.get("hw:cpu_realtime", "").strip().lower() not in _YES:
        return frozenset()
    text = properties.get("hw_cpu_realtime_mask") or specs.get("hw:cpu_realtime_mask")
    everything = frozenset(range(vcpus))
    found = masked(text, vcpus) if text else everything
    if not found or (found == everything and not emulator):
        raise BadRequest(
            "Realtime policy needs vCPU(s) mask configured with at least 1 RT vCPU and 1 ordinary vCPU. See "
            "hw:cpu_realtime_mask or hw_cpu_realtime_mask"
        )
    if not found <= everything:
        raise BadRequest(
            "Realtime policy vCPU(s) mask is configured with RT vCPUs that are not a subset of the vCPUs in the "
            "flavor. See hw:cpu_realtime_mask or hw_cpu_realtime_mask"
        )
    return found


def masked(text: str, vcpus: int) -> frozenset[int]:
    """A mask that begins with an exclusion excludes from all of the guest's processors."""
    try:
        return cpu_set(f"0-{vcpus - 1},{text}" if text.strip().startswith("^") else text)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _word(name: str, specs: Specs, words: tuple[str, ...], refused: str) -> str | None:
    value = specs.get(name)
    if value and value not in words:
        raise BadRequest(refused.format(value, words))
    return value or None


def _bad_policy(what: str, source: str) -> str:
    return f"{what} policy requested from '{source}' is invalid, given: '{{}}', available: '{{}}'."


_bad_emulator: Final = "CPU emulator threads option requested is invalid, given: '{}', available: '{}'."
