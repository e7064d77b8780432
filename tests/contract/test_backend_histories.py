"""Whatever is done to an etcd and to its twin in memory, both answer the same and tell their watches the same."""

import asyncio
from typing import Any, Final

import grpc
from aetcd import rpc
from attrs import frozen
from etcd_labs import Lab, Plain, Watcher, compare, delete, get, nested, put, real_lab, twin_lab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from substrate import EtcdServer

from schemas.errors import StoreUnavailable

KEYS: Final = st.sampled_from([b"a", b"a0", b"b", b"c"])
ENDS: Final = st.sampled_from([b"", b"a0", b"b", b"z"])
VALUES: Final = st.sampled_from([b"", b"1", b"2"])
FLAGS: Final = st.booleans()
BACK: Final = st.integers(-1, 5)
"""revisions before the present one; less than 0: in the future"""
LEASE: Final = st.sampled_from([1, 1, 2, 2, 3, 9])
"""beyond those granted: one that does not exist"""
MAYBE_LEASE: Final = st.sampled_from([0] * 7 + [1, 1, 1, 2, 2, 9])
UNKNOWN_LEASE: Final = 77


@frozen
class Put:
    key: bytes
    value: bytes
    lease: int = 0
    prev_kv: bool = False
    ignore: str = ""


@frozen
class Delete:
    key: bytes
    end: bytes
    prev_kv: bool = False


@frozen
class Read:
    key: bytes
    end: bytes
    back: int | None
    options: dict[str, Any]


@frozen
class Guard:
    key: bytes
    end: bytes
    result: str
    target: str
    number: int
    value: bytes


@frozen
class Transaction:
    compares: list[Guard]
    success: list[Any]
    failure: list[Any]


@frozen
class Grant:
    pass


@frozen
class Revoke:
    lease: int


@frozen
class Renew:
    lease: int


@frozen
class Compact:
    back: int


@frozen
class Watch:
    key: bytes
    end: bytes
    back: int
    compacted: int | None
    """what is compacted before, relative to where it starts"""
    options: dict[str, Any]


@frozen
class Unwatch:
    watch_id: int


def _puts() -> st.SearchStrategy[Put]:
    kept = st.sampled_from([""] * 10 + ["ignore_value", "ignore_lease"])
    return st.builds(Put, KEYS, VALUES, MAYBE_LEASE, FLAGS, kept)


def _deletes() -> st.SearchStrategy[Delete]:
    return st.builds(Delete, KEYS, ENDS, FLAGS)


def _reads() -> st.SearchStrategy[Read]:
    rarely = st.sampled_from([False, False, False, True])
    options = st.fixed_dictionaries(
        {
            "limit": st.integers(0, 3),
            "sort_order": st.integers(0, 2),
            "sort_target": st.integers(0, 4),
            "count_only": rarely,
            "keys_only": rarely,
        }
    )
    return st.builds(Read, KEYS, st.one_of(ENDS, st.just(b"\0")), st.one_of(st.none(), BACK), options)


def _guards() -> st.SearchStrategy[Guard]:
    results = st.sampled_from(["EQUAL", "EQUAL", "GREATER", "LESS", "NOT_EQUAL"])
    targets = st.sampled_from(["mod_revision", "create_revision", "version", "value", "lease"])
    return st.builds(Guard, KEYS, st.one_of(st.just(b""), ENDS), results, targets, st.integers(0, 3), VALUES)


def _transactions(depth: int = 2) -> st.SearchStrategy[Transaction]:
    operation = st.one_of(_puts(), _puts(), _deletes(), _reads())
    if depth:
        operation = st.one_of(operation, _transactions(depth - 1))
    guards = st.lists(_guards(), max_size=2)
    return st.builds(Transaction, guards, st.lists(operation, max_size=4), st.lists(operation, max_size=2))


def _watches() -> st.SearchStrategy[Watch]:
    options = st.fixed_dictionaries({"prev_kv": FLAGS, "filters": st.sampled_from([[], [], [0], [1]])})
    compacted = st.one_of(st.none(), st.integers(-1, 1))
    return st.builds(Watch, KEYS, st.one_of(ENDS, st.just(b"\0")), BACK, compacted, options)


WEIGHTS: Final = [
    (8, _puts()),
    (7, _transactions()),
    (4, _watches()),
    (3, _reads()),
    (1, _deletes()),
    (1, st.just(Delete(b"b", b"\0"))),
    (1, st.just(Grant())),
    (1, st.builds(Revoke, LEASE)),
    (1, st.builds(Renew, LEASE)),
    (1, st.builds(Compact, BACK)),
    (1, st.builds(Unwatch, st.integers(0, 4))),
]
STEPS: Final = st.sampled_from([steps for weight, steps in WEIGHTS for _ in range(weight)]).flatmap(lambda steps: steps)
HISTORIES: Final = st.lists(STEPS, min_size=20, max_size=40).map(lambda steps: [Grant(), Grant(), *steps])


class Run:
    """One history on one etcd."""

    def __init__(self, lab: Lab, watcher: Watcher, keepalive: Any) -> None:
        self.lab = lab
        self.watcher = watcher
        self.keepalive = keepalive

    async def do(self, step: Any) -> Any:
        """The answer, or how it was refused."""
        try:
            return await self._do(step)
        except StoreUnavailable as error:
            cause = error.__cause__
            assert isinstance(cause, grpc.aio.AioRpcError)
            return cause.code(), cause.details()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()

    async def _do(self, step: Any) -> Any:
        lab = self.lab
        match step:
            case Put() | Delete():
                return await lab.txn(await self.operation(step))
            case Read():
                return lab.plain(await lab.backend.range((await self.operation(step)).request_range))
            case Transaction():
                request = (await self.operation(step)).request_txn
                return lab.plain(await lab.backend.txn(request, writes=True))
            case Grant():
                await lab.grant()
            case Revoke(lease):
                await lab.backend.revoke(self.lease(lease))
            case Renew(lease):
                await self.keepalive.write(rpc.LeaseKeepAliveRequest(ID=self.lease(lease)))
                return (await self.keepalive.read()).TTL
            case Compact(back):
                await self.watcher.settle()
                await lab.compact(max(1, await lab.revision() - back))
            case Watch(key, end, back, compacted, options):
                start = max(1, await lab.revision() - back)
                if compacted is not None:
                    await self.do(Compact(await lab.revision() - start - compacted))
                await self.watcher.create(key, end, start, **options)
                await self.watcher.settle()
            case Unwatch(watch_id):
                await self.watcher.cancel(watch_id + 1)  # 0 is there for good
                await self.watcher.settle()
        return None

    async def operation(self, step: Any) -> rpc.RequestOp:
        match step:
            case Put(key, value, lease, prev_kv, ignore):
                kept = {ignore: True} if ignore else {}
                value = b"" if ignore == "ignore_value" else value
                lease = 0 if ignore == "ignore_lease" or not lease else self.lease(lease)
                return put(key, value, lease=lease, prev_kv=prev_kv, **kept)
            case Delete(key, end, prev_kv):
                return delete(key, end, prev_kv=prev_kv)
            case Read(key, end, back, options):
                revision = 0 if back is None else self.lab.base + max(1, await self.lab.revision() - back)
                return get(key, end, revision=revision, **options)
            case Transaction(compares, success, failure):
                return nested(
                    *[await self.operation(each) for each in success],
                    compare=[await self.guard(each) for each in compares],
                    failure=[await self.operation(each) for each in failure],
                )
        raise TypeError(step)

    async def guard(self, guard: Guard) -> rpc.Compare:
        wanted: Any = guard.number
        if guard.target == "value":
            wanted = guard.value
        elif guard.target == "lease":
            wanted = self.lease(guard.number) if guard.number else 0
        elif guard.target != "version" and guard.number:
            wanted = self.lab.base + await self.lab.revision() - guard.number + 1
        return compare(guard.key, guard.result, guard.end, **{guard.target: wanted})

    def lease(self, number: int) -> int:
        return self.lab.leases[number - 1] if 0 < number <= len(self.lab.leases) else UNKNOWN_LEASE


async def lived(lab: Lab, steps: list[Any]) -> tuple[list[Any], Plain, dict[int, list[Plain]]]:
    """All answers, what is there at the end, and what the watches were told."""
    watcher = await lab.watch()
    keepalive = await lab.backend.keepalive_stream()
    await watcher.create(b"\0", b"\0")
    await watcher.settle()
    run = Run(lab, watcher, keepalive)
    answers = [await run.do(step) for step in steps]
    await watcher.settle()
    left = await lab.range(b"\0", b"\0")
    keepalive.cancel()
    await watcher.close()
    return answers, left, watcher.said()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=HISTORIES)
def test_both_live_through_the_same_history(own_etcd: EtcdServer, steps: list[Any]) -> None:
    async def compare_both() -> None:
        async with real_lab(own_etcd.endpoint) as real, twin_lab() as twin:
            expected, expected_left, expected_told = await lived(real, steps)
            answers, left, told = await lived(twin, steps)
        for step, answer, right in zip(steps, answers, expected, strict=True):
            assert answer == right, step
        assert left == expected_left
        assert told == expected_told

    asyncio.run(compare_both())
