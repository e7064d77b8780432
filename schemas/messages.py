"""What crosses the bus. Every message may be lost, doubled, late or out of order."""

from typing import Any, Literal

from attrs import field, frozen

from schemas.codec import record
from schemas.guest import GuestMark, GuestSpec, GuestState, HostFacts


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


@record(1)
@frozen
class Select:
    """Choose and claim a host for each of these build operations."""

    servers: tuple[str, ...]


@record(1)
@frozen
class Selected:
    """The servers whose operation now says what was chosen or why nothing was."""

    decided: tuple[str, ...]


Verb = Literal["spawn", "destroy", "power-on", "power-off", "reboot"]


@record(1)
@frozen
class Command:
    """One job for one server. Refused when `session` is not the agent's or the generation is older than one seen."""

    verb: Verb
    session: str
    mark: GuestMark
    step: str
    attempt: int = 1
    spec: GuestSpec | None = None
    options: dict[str, Any] = field(factory=dict)


@record(1)
@frozen
class CommandReply:
    """`refusal` says why the agent will not; None: accepted, a Report follows."""

    refusal: str | None = None


@record(1)
@frozen
class Report:
    """The end of a job, repeated until the owner answers. `error` is a class of the error tree."""

    host: str
    session: str
    mark: GuestMark
    step: str
    state: GuestState | None = None
    error: str | None = None
    message: str = ""


@record(1)
@frozen
class ReportReply:
    """`applied` is False when the report was about something long decided otherwise; it is done with all the same."""

    applied: bool


@record(1)
@frozen
class Changed:
    """A guest's power state or addresses changed by themselves."""

    host: str
    session: str
    state: GuestState


@record(1)
@frozen
class Hello:
    """An agent's start, inventory and heartbeat. `guests` are all domains, `jobs` the servers being worked on."""

    host: str
    host_id: str
    session: str
    version: int
    facts: HostFacts | None = None
    guests: tuple[GuestState, ...] = ()
    jobs: tuple[str, ...] = ()
    kind: Literal["start", "inventory", "beat"] = "beat"


@record(1)
@frozen
class HelloReply:
    """`known` is False when the owner wants the whole inventory now."""

    known: bool
    refusal: str | None = None


@record(1)
@frozen
class Probe:
    """Who are you? Asked back before a session is believed."""


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
    verb: Literal["console-output"]
    server: str
    options: dict[str, Any] = field(factory=dict)


@record(1)
@frozen
class HostCallReply:
    output: str = ""
