"""The values of query parameters: resources, traits, aggregates. Texts are Placement's."""

from collections.abc import Iterable, Sequence

from control.placement.api.validation import canonical, is_uuid
from control.placement.query import Wanted
from control.placement.resources import Amounts
from schemas.errors import BadRequest
from schemas.numbers import whole_number

FORBIDDEN_TRAITS = 22
REPEATED_AGGREGATES = 24
FORBIDDEN_AGGREGATES = 32
ANY_TRAITS = 39

_INVALID = "Invalid query string parameters: "
_RESOURCES = (
    "Badly formed resources parameter. Expected resources query string parameter in form: "
    "?resources=VCPU:2,MEMORY_MB:1024. Got: "
)


def resources(text: str) -> Amounts:
    """`CLASS:amount,...`. Raises BadRequest."""
    if not text.strip():
        raise BadRequest(f"{_RESOURCES}empty string.")
    found: Amounts = {}
    for part in text.split(","):
        name, colon, amount = part.partition(":")
        if not colon or ":" in amount:
            raise BadRequest(f"{_RESOURCES}{part}.")
        number = whole_number(amount.strip())
        if number is None:
            raise BadRequest(f"Requested resource {name} expected positive integer amount. Got: {amount}.")
        if number < 1:
            raise BadRequest(f"Requested resource {name} requires amount >= 1. Got: {number}.")
        found[name] = number
    return found


def traits(values: Sequence[str], version: int) -> Wanted:
    """The values of all parameters `required` of one group. Raises BadRequest."""
    if version < ANY_TRAITS:
        values = values[-1:]  # the last one used to win
    any_of: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        if value.startswith("in:"):
            any_of.append(_any_trait(value, version))
            continue
        wanted, unwanted = listed_traits(value, forbids=version >= FORBIDDEN_TRAITS)
        any_of += [frozenset({name}) for name in wanted]
        forbidden |= unwanted
    return Wanted(tuple(dict.fromkeys(any_of)), frozenset(forbidden))


def _any_trait(value: str, version: int) -> frozenset[str]:
    if version < ANY_TRAITS:
        raise BadRequest(
            f"{_INVALID}The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion 1.39. "
            f"Got: {value}"
        )
    names = frozenset(name.strip() for name in value[3:].split(","))
    if "" in names:
        raise BadRequest(
            f"{_INVALID}Expected 'required' parameter value of the form: in:HW_CPU_X86_VMX,CUSTOM_MAGIC. "
            f"Got an empty trait in: {value}"
        )
    if any(name.startswith("!") for name in names):
        raise BadRequest(
            f"{_INVALID}The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden traits. Got: {value}"
        )
    return names


def listed_traits(value: str, *, forbids: bool) -> tuple[list[str], set[str]]:
    """Wanted and forbidden ones of a comma-separated list, forbidden ones marked by `!`, or several. Raises
    BadRequest."""
    if value.startswith("in:"):
        _any_trait(value, 0)
    names = [name.strip() for name in value.split(",")]
    forbidden = {name.lstrip("!") for name in names if name.startswith("!")}
    form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC" if forbids else "HW_CPU_X86_VMX,CUSTOM_MAGIC"
    if "" in names or "" in forbidden:
        raise BadRequest(
            f"{_INVALID}Expected 'required' parameter value of the form: {form}. Got an empty trait in: {value}"
        )
    if forbidden and not forbids:
        raise BadRequest(f"{_INVALID}Expected 'required' parameter value of the form: {form}. Got: {value}")
    return [name for name in names if not name.startswith("!")], forbidden


def conflicting(wanted: Wanted) -> list[frozenset[str]]:
    """The conditions that nothing can fulfil, since all that would do is forbidden."""
    return [names for names in wanted.any_of if names <= wanted.forbidden]


def aggregates(values: Sequence[str], version: int, suffix: str = "") -> Wanted:
    """The values of all parameters `member_of` of one group. Raises BadRequest."""
    if version < REPEATED_AGGREGATES and len(values) > 1:
        raise BadRequest(f"Multiple member_of{suffix} parameters are not supported")
    any_of: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        body = value.removeprefix("!")
        names = body.removeprefix("in:").split(",")
        if len(names) > 1 and not body.startswith("in:"):
            raise BadRequest(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid "
                f"microversion. Got: {value}"
            )
        uuids = frozenset(_uuids(names))
        if body is not value and version < FORBIDDEN_AGGREGATES:
            raise BadRequest(f"Forbidden member_of{suffix} parameters are not supported in the specified microversion")
        if body is not value:
            forbidden |= uuids
        else:
            any_of.append(uuids)
    return Wanted(tuple(any_of), frozenset(forbidden))


def _uuids(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if not is_uuid(name):
            raise BadRequest(f"{_INVALID}Expected 'member_of' parameter to contain valid UUID(s). Got: {name}")
        yield name  # as it is written, as aggregates are kept


def in_tree(value: str) -> str:
    """Raises BadRequest."""
    if not is_uuid(value.strip()):
        raise BadRequest(f"{_INVALID}Expected 'in_tree' parameter to be a format of uuid. Got: {value}")
    return canonical(value.strip())
