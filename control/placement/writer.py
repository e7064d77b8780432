"""The one way in which placement's records are changed: decide, commit guarded, decide again when the world moved on.

A decision is a pure function of a Reading. Its first attempt stands on the watched view without reading anything: the
transaction's compares prove that the view was right. A refusal, or a decision that writes nothing, proves nothing, so
it is taken again on a linearizable read of the same records before anybody is told.

Writers of one process that are about the same provider wait for each other, so that they can lose only to other
processes; those that wait for the same meanwhile are decided one upon the other and committed as one transaction.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field

from control.placement.reading import Known, NotRead, Pending, Reading
from kv.keys import Key
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, ConcurrentUpdate, KilonovaError

T = TypeVar("T")

Decide = Callable[[Reading], tuple[Txn, T]]
"""A transaction and what its caller wants to know; raises what refuses it."""

FIRST_PAUSE: Final = 0.001
"""seconds before the second attempt after a lost one, doubled each time up to LONGEST_PAUSE"""
LONGEST_PAUSE: Final = 0.05
MOST_TOGETHER: Final = 16
MOST_OPERATIONS: Final = 96
"""of a transaction that holds several decisions; etcd takes 128"""
LOST: Final = "Another thread concurrently updated the data. Please retry your update"


@define(eq=False)
class _Job:
    """A decision that waits for its turn in all its lanes."""

    decide: Decide[Any]
    lanes: tuple[str, ...]
    ahead: Sequence[Key[Any]]
    done: asyncio.Future[Any] = field(factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """`known` None: every decision reads what it asks for. `retries`: how often a lost decision is taken again."""

    def __init__(self, store: Store, known: Known | None = None, retries: int = 10) -> None:
        self.store = store
        self._known = known
        self._retries = retries
        self._waiting: dict[str, deque[_Job]] = {}
        """by lane; the lane is in use as long as it is here"""
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, decide: Decide[T], lanes: Iterable[str] = (), ahead: Sequence[Key[Any]] = ()) -> T:
        """What `decide` answers once its transaction is committed. `lanes` name what others may be writing too, such
        as providers; `ahead` is what it will ask for, as far as no view has it. Raises what `decide` raises,
        ConcurrentUpdate after too many lost attempts, UnknownOutcome when it may or may not have been written."""
        names = tuple(sorted(set(lanes)))
        if not names:
            return await self._alone(decide, ahead)
        job = _Job(decide, names, ahead)
        busy = [name for name in names if name in self._waiting]
        if busy:
            self._waiting[busy[0]].append(job)
        else:
            self._take(names)
            await self._serve([job])
        answer: T = await job.done
        return answer

    def _take(self, lanes: tuple[str, ...]) -> None:
        for name in lanes:
            self._waiting[name] = deque()

    def _start(self, jobs: list[_Job]) -> None:
        """They have the same lanes, and those are free."""
        self._take(jobs[0].lanes)
        task = asyncio.create_task(self._serve(jobs), name="placement write")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, jobs: list[_Job]) -> None:
        try:
            if len(jobs) == 1 or not await self._together(jobs):
                for job in jobs:
                    await self._for(job)
        except Exception as error:
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(error)
        finally:
            for job in jobs:
                if not job.done.done():  # who wrote was given up, or the process ends
                    job.done.cancel()
            self._leave(jobs[0].lanes)

    def _leave(self, lanes: tuple[str, ...]) -> None:
        """Starts what waited for these lanes, as far as it can; the rest waits for another lane that is in use."""
        left = [job for name in lanes for job in self._waiting.pop(name) if not job.done.done()]
        while left:
            job = left.pop(0)
            busy = [name for name in job.lanes if name in self._waiting]
            if busy:
                self._waiting[busy[0]].append(job)
                continue
            alike = [other for other in left if other.lanes == job.lanes][: MOST_TOGETHER - 1]
            left = [other for other in left if other not in alike]
            self._start([job, *alike])

    async def _for(self, job: _Job) -> None:
        try:
            answer = await self._alone(job.decide, job.ahead)
        except Exception as error:
            if not job.done.done():
                job.done.set_exception(error)
            return
        if not job.done.done():
            job.done.set_result(answer)

    async def _together(self, jobs: list[_Job]) -> bool:
        """Whether all were decided on the view and committed at once; if not, nothing was."""
        pending = Pending()
        answers = []
        for job in jobs:
            try:
                txn, answer = job.decide(pending.on(Reading(self._known)))
            except (NotRead, KilonovaError):
                return False  # each for itself: a refusal has to be proved
            pending.add(txn)
            answers.append(answer)
        txn = pending.txn
        if not txn.writes or max(len(txn.writes), len(txn.revisions)) > MOST_OPERATIONS:
            return False
        try:
            await self.store.commit(txn)
        except CompareFailed:
            return False
        if self._known is not None:
            self._known.learn(txn)
        for job, answer in zip(jobs, answers, strict=True):
            if not job.done.done():
                job.done.set_result(answer)
        return True

    async def _alone(self, decide: Decide[T], ahead: Sequence[Key[Any]]) -> T:
        reading = await self._read(ahead) if ahead else Reading(self._known)
        lost = 0
        while True:
            try:
                txn, answer = decide(reading)
            except NotRead:
                reading = await self._read(list(reading.asked.values()))
                continue
            except KilonovaError:
                if reading.fresh:
                    raise
                reading = await self._read(list(reading.asked.values()))
                continue
            if not txn.writes:
                if reading.fresh:
                    return answer
                reading = await self._read(list(reading.asked.values()))
                continue
            try:
                await self.store.commit(txn)
            except CompareFailed:
                lost += 1
                if lost > self._retries:
                    raise ConcurrentUpdate(LOST) from None
                if lost > 1:
                    await asyncio.sleep(min(FIRST_PAUSE * 2**lost, LONGEST_PAUSE))
                reading = await self._read(list(reading.asked.values()))
                continue
            if self._known is not None:
                self._known.learn(txn)
            return answer

    async def _read(self, keys: Sequence[Key[Any]]) -> Reading:
        """These records as of now."""
        found: list[Stored[Any] | None] = await self.store.read_all(keys)
        return Reading(self._known, {key.path: stored for key, stored in zip(keys, found, strict=True)})
