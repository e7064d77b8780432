"""Operations: the unfinished work on a server, and what remains of it afterwards."""

from datetime import datetime
from typing import Any

from attrs import field, frozen

from schemas.codec import record
from schemas.server import Fault


@frozen
class Line:
    """One line of a story: when, who, what."""

    at: datetime
    text: str


@record(1)
@frozen
class Operation:
    """Work on one server in one store; at most one a server and store. `step` names what is to be done next.

    `inputs` are what the caller asked for, `results` what finished steps found; a saga knows their keys.
    `cancel` asks the owner to turn a build around at its next step.
    """

    server: str
    kind: str
    step: str
    started: datetime
    deadline: datetime
    request_id: str = ""
    user: str = ""
    project: str = ""
    created_us: int = 0
    """of the server: with the project it is the key of its Instance"""
    attempt: int = 1
    tries: int = 0
    """of the present step"""
    generation: int = 1
    host: str | None = None
    cancel: bool = False
    inputs: dict[str, Any] = field(factory=dict, repr=False)
    results: dict[str, Any] = field(factory=dict)
    fault: Fault | None = None
    story: tuple[Line, ...] = ()


@record(1)
@frozen
class Outbox:
    """What a cell has for the top: `deleted`, `build-failed` or `image-grant-wanted`. The top applies it once and
    removes it."""

    server: str
    kind: str
    project: str
    created_us: int
    attempt: int
    generation: int
    host: str | None
    at: datetime
    fault: Fault | None = None


@frozen
class ActionEvent:
    event: str
    started: datetime
    finished: datetime | None = None
    result: str | None = None
    host: str | None = None
    details: str | None = None
    traceback: str | None = None


@record(1)
@frozen
class Action:
    """An entry of a server's history: os-instance-actions shows it, so does `kilonova story`."""

    server: str
    action: str
    request_id: str
    user: str
    project: str
    started: datetime
    updated: datetime
    message: str | None = None
    events: tuple[ActionEvent, ...] = ()
    story: tuple[Line, ...] = ()


@record(1)
@frozen
class Deleted:
    """What is kept of a deleted server for a while: its last record."""

    instance: dict[str, Any]
    at: datetime
