"""The shape of weighers."""

from collections.abc import Callable

from attrs import frozen

from control.scheduler.columns import Column
from control.scheduler.model import Model
from control.scheduler.request import Request


def always(_: Request) -> bool:
    return True


@frozen
class Weigher:
    """`run` gives the rows' raw numbers. `multiplier` is the name of the option of `[filter_scheduler]` that holds its
    weight, and of the aggregate metadata that overrides it; without one it counts `default`."""

    run: Callable[[Model, Column, Request], Column]
    multiplier: str = ""
    default: float = 1.0
    sign: float = 1.0
    consumes: str | None = None
    """the resource class whose free amount it is, so that a claim changes it by what is asked"""
    wanted: Callable[[Request], bool] = always
