"""What crosses the bus. Every message may be lost, doubled, late or out of order."""

from typing import Any, Literal

from attrs import field, frozen

from schemas.codec import record
from schemas.guest import Diagnostics, GuestMark, GuestSpec, GuestState, HostFacts
from schemas.operation import Operation
from schemas.server import RequestSpec


@record(1)
@frozen
class Ack:
    """The request was taken note of; nothing more to say."""


@record(1)
@frozen
class Wake:
    """Hint: look at this server's operation."""

    server: str
    created_us: int = 0
    project: str = ""


@frozen
class SelectItem:
    """A waiting build as its owner read it: the claim compares `revision`, the operation's mod-revision."""

    operation: Operation
    revision: int
    spec: RequestSpec


@record(1)
@frozen
class Select:
    """Choose and claim a host for each of these builds."""

    items: tuple[SelectItem, ...]


@frozen
class Selection:
    """The operation as the claim left it, at `revision`; or why no host can take it."""

    server: str
    operation: Operation | None = None
    revision: int = 0
    refusal: str | None = None
    again: bool = False
    """the refusal is not final: something that matters for it is not known at present"""


@record(1)
@frozen
class Selected:
    """Servers that are not among them must be looked at again: their operation has changed."""

    decided: tuple[Selection, ...]


Verb = Literal["spawn", "destroy", "power-on", "power-off", "reboot", "pause", "unpause", "suspend", "resume"]


@record(1)
@frozen
class Command:
    """One job for one server. Refused when `session` is not the agent's or the generation is older than one seen."""

    verb: Verb
    session: str
    mark: GuestMark
    step: str
    attempt: int = 1
    """counts what was said again after a failure that a retry may mend"""
    spec: GuestSpec | None = None
    options: dict[str, Any] = field(factory=dict)


@record(1)
@frozen
class CommandReply:
    """`refusal` says why the agent will not; None: accepted, a Report follows. `stale`: it knows a newer command, of
    `generation`."""

    refusal: str | None = None
    stale: bool = False
    generation: int = 0


@frozen
class Report:
    """The end of a job, repeated until the owner answers. `error` is a class of the error tree."""

    mark: GuestMark
    step: str
    attempt: int
    state: GuestState | None = None
    error: str | None = None
    message: str = ""


@frozen
class Progress:
    """A job has come further: its deadline starts anew. A hint, said now and then, never repeated."""

    mark: GuestMark
    step: str
    attempt: int
    note: str


@frozen
class Changed:
    """A guest's power state or addresses are other than last told."""

    state: GuestState


@frozen
class JobAtWork:
    """A command that is being carried out, or whose end was not acknowledged yet."""

    server: str
    operation: str
    step: str
    generation: int


@frozen
class Hello:
    """An agent's start or its inventory: its host's facts, all guests and all jobs."""

    kind: Literal["start", "inventory"]
    host_id: str
    version: int = 1
    """the release of the records and messages that the agent knows"""
    facts: HostFacts | None = None
    guests: tuple[GuestState, ...] = ()
    jobs: tuple[JobAtWork, ...] = ()
    resume_guests: bool = False
    """guests that ran when the machine went down are to run again"""
    speaker: str = ""
    """the host in whose name, and on whose subjects, the heartbeats of this one are sent; empty: its own"""
    clock: float | None = None
    """the host's wall clock in Unix seconds, when this was sent"""


@frozen
class Beat:
    """A sign of life of one session. It is believed of the host whose subject it came on, and of those that have named
    that host as their speaker."""

    host: str
    session: str
    hypervisor: str = ""
    """why the host's hypervisor does not answer; empty: it does"""


@record(1)
@frozen
class FromAgent:
    """What an agent says to the owner of a shard: exactly one of the five. `beats` are of all hosts of its process that
    this owner has."""

    host: str
    session: str
    report: Report | None = None
    changed: Changed | None = None
    hello: Hello | None = None
    progress: Progress | None = None
    beats: tuple[Beat, ...] = ()


@frozen
class Stray:
    """A guest that is not its host's any more, as judged at this generation."""

    server: str
    generation: int


@record(1)
@frozen
class ToAgent:
    """`applied`: taken note of for good; False: say it again later, or start anew when `unknown_session`.

    `strays` and `missing` are what an inventory and the records do not agree about. The agent removes a guest that is
    said to be a stray twice in a row, and tells of a missing one as of any change, unless a job was begun since it
    looked.
    """

    applied: bool = True
    unknown_session: bool = False
    refusal: str | None = None
    strays: tuple[Stray, ...] = ()
    unknown: tuple[str, ...] = ()
    """hosts of a pulse whose sessions are not known, or not any more"""
    missing: tuple[str, ...] = ()
    """servers at rest that the records place on the host, where no guest of theirs was listed"""
    granted: float = 0.0
    """seconds, from when the host sent what this answers, in which it may start guests; for the hosts of a heartbeat
    that are not `unknown`"""


@record(1)
@frozen
class Probe:
    """Are you there? Asked back before a session is believed; no other session under the same name answers."""

    session: str


@record(1)
@frozen
class ProbeReply:
    session: str
    host_id: str


@record(1)
@frozen
class HostCall:
    """A read that only the host can answer."""

    cell: str
    host: str
    verb: Literal["console-output", "diagnostics", "vnc-console", "guest-state", "inventory", "cache-image"]
    """inventory: look at all guests in a moment and tell; cache-image: have the image of the options at hand. They have
    no server."""
    server: str
    options: dict[str, Any] = field(factory=dict)


@record(1)
@frozen
class HostCallReply:
    """`output`: what is on the serial console, the `host:port` of the VNC server, or whether an image is `cached` or
    `fetching`."""

    output: str = ""
    diagnostics: Diagnostics | None = None
    state: GuestState | None = None


@record(1)
@frozen
class Explain:
    """What would be decided of this request now? Nothing is claimed. `hosts`: how many of the best are told."""

    spec: RequestSpec
    hosts: int = 10


@frozen
class Obstacle:
    """`stage` is `host`, `traits`, `aggregates`, `capacity`, `request` or a filter's name. `removed`: hosts of which
    this is the first reason; `alone`: of which it is the only one, so that they could take the request without it."""

    stage: str
    reason: str
    removed: int
    alone: int
    note: str = ""


@frozen
class Weighed:
    """A host that can take the request: its place in the order comes from the sum of the weighers' parts."""

    host: str
    cell: str
    weight: float
    parts: dict[str, float]
    times: int
    """how many such requests its free room holds"""


@record(1)
@frozen
class Explained:
    """Of `hosts` hosts `fitting` can take the request; together they have room for `times` of them."""

    hosts: int
    fitting: int
    times: int
    asked: dict[str, int]
    obstacles: tuple[Obstacle, ...] = ()
    best: tuple[Weighed, ...] = ()
