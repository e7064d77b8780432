"""The error tree: codes, fault names, and the way over the bus."""

import pytest

from schemas import errors
from schemas.errors import BY_NAME, FAULT_NAMES, KilonovaError, fault_name, from_wire, to_wire


@pytest.mark.parametrize("cls", BY_NAME.values(), ids=BY_NAME)
def test_every_error_crosses_the_wire_as_itself(cls: type[KilonovaError]) -> None:
    wire = to_wire(cls("what went wrong"))
    back = from_wire(wire["error"], wire["message"])
    assert (type(back), back.message, str(back)) == (cls, "what went wrong", "what went wrong")


@pytest.mark.parametrize("cls", BY_NAME.values(), ids=BY_NAME)
def test_every_error_is_drawn_in_the_tree(cls: type[KilonovaError]) -> None:
    assert cls.__name__ in (errors.__doc__ or "")
    assert 400 <= cls.code < 600
    assert fault_name(cls.code) == FAULT_NAMES.get(cls.code, "computeFault")


def test_names_are_unique_and_what_is_foreign_names_its_class() -> None:
    assert len(BY_NAME) == len(set(BY_NAME.values()))
    assert to_wire(ValueError("x")) == {"error": "KilonovaError", "message": "ValueError: x"}
    assert type(from_wire("Unheard", "x")) is KilonovaError


def test_what_may_be_tried_again() -> None:
    retryable = {name for name, cls in BY_NAME.items() if cls.retryable}
    unavailable = {"Unavailable", "StoreUnavailable", "UnknownOutcome", "StoreFull", "BusUnavailable", "NobodyListens"}
    assert unavailable | {"CompareFailed", "HypervisorDown"} <= retryable
    assert not retryable & {"NotFound", "QuotaExceeded", "HostFull", "CommandRefused", "WrongState"}
