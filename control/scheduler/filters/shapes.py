"""The two shapes of filters."""

from collections.abc import Callable, Iterable

from attrs import frozen

from control.scheduler.columns import Column
from control.scheduler.model import HostState, Model
from control.scheduler.request import Request

Verdict = Callable[[HostState, Request], str | None]
"""Why the host cannot take it, or None."""


def always(_: Request) -> bool:
    return True


@frozen
class HostFilter:
    """`wanted`: whether the request has anything that this filter looks at."""

    run: Verdict
    wanted: Callable[[Request], bool] = always
    on_rebuild: bool = False
    counts: bool = False
    """its verdict changes with every claim, so that equal requests cannot be decided together"""


@frozen
class MaskFilter:
    """`run` yields reasons, each with the rows that it rules out."""

    run: Callable[[Model, Request], Iterable[tuple[str, Column]]]
    wanted: Callable[[Request], bool] = always
    on_rebuild: bool = False
    counts: bool = False


Filter = HostFilter | MaskFilter
