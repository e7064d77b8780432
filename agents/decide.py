"""What the agent does with a command, as a function of what it remembers. Pure."""

from typing import Literal

from attrs import frozen

from schemas.messages import Command


@frozen
class Job:
    """A command's identity within its server: the same again is adopted, another cancels it."""

    operation: str
    step: str
    attempt: int


@frozen
class Memory:
    """Of one server in this session: the highest generation seen, and the last job with whether it still runs."""

    generation: int = 0
    job: Job | None = None
    running: bool = False


@frozen
class Refuse:
    reason: str
    stale: bool = False
    generation: int = 0
    """the newest that was seen, which makes the command's stale"""


@frozen
class Begin:
    """A new job; an older one is cancelled and awaited first."""

    memory: Memory


@frozen
class Adopt:
    """The job is known: its report goes out under the new generation, `again` when it has ended already."""

    memory: Memory
    again: bool


Decision = Refuse | Begin | Adopt


def job_of(command: Command) -> Job:
    return Job(command.mark.operation, command.step, command.attempt)


def decide(memory: Memory, command: Command, session: str, phase: Literal["registering", "serving"]) -> Decision:
    """An older generation or another session is refused; the same operation and step adopts; all else begins."""
    if command.session != session:
        return Refuse(f"the command is for session {command.session}, this is {session}")
    if phase == "registering":
        return Refuse("not ready: strays are being removed")
    generation = command.mark.generation
    if generation < memory.generation:
        return Refuse(f"generation {generation} is older than {memory.generation}", True, memory.generation)
    job = job_of(command)
    if job == memory.job:
        return Adopt(Memory(generation, job, memory.running), again=not memory.running)
    return Begin(Memory(generation, job, running=True))
