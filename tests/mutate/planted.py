"""Faults as text that replaces text of the product, each with what is to be tried first to catch it."""

from typing import Final

from attrs import frozen


@frozen
class Planted:
    """`old` stands once in the file `path`; `test` names a pytest file or test, `aim` the purpose whose commits the
    simulation holds up."""

    name: str
    path: str
    old: str
    new: str
    test: str = ""
    aim: str = ""


PLANTED: Final = (
    Planted(
        "claim: operation not compared",
        "control/scheduler/claims.py",
        "done.txn.at(key, claim.item.revision).put(key, operation)",
        "done.txn.put(key, operation)",
        aim="claim",
    ),
    Planted(
        "claim: mapping, provider and cell not compared",
        "control/scheduler/claims.py",
        "done.txn.unchanged(mapping).unchanged(provider).unchanged(cell)",
        "pass",
        aim="claim",
    ),
    Planted(
        "claim: mapping compared as it is now",
        "control/scheduler/claims.py",
        "mapping, provider, cell = claim.mapping, claim.provider, claim.cell",
        "mapping, provider, cell = host.mapping, host.provider, claim.cell",
        test="tests/unit/scheduler/test_claims.py",
        aim="claim",
    ),
    Planted(
        "claim: allocation put, not created",
        "control/scheduler/claims.py",
        "done.txn.create(Global.ALLOCATIONS(before.server), allocation)",
        "done.txn.put(Global.ALLOCATIONS(before.server), allocation)",
        aim="claim",
    ),
    Planted(
        "cell fence not compared",
        "control/conductor/top/fences.py",
        "return await store.commit(txn.unchanged(fence))",
        "return await store.commit(txn)",
        test="tests/unit/conductor/test_fences.py",
        aim="place",
    ),
    Planted(
        "shard fence not compared",
        "kv/shards.py",
        "        return txn.unchanged(fence)",
        "        return txn",
        aim="boot finish",
        test="tests/contract/test_engine_rescan.py::test_an_owner_that_lost_its_shard_commits_nothing",
    ),
    Planted(
        "engine: unknown outcome retried without refence",
        "control/conductor/engine.py",
        "                    await self._shards.refence(shard)",
        "                    pass",
        test="tests/contract/test_engine_rescan.py::test_a_write_of_unknown_outcome_is_made_impossible_before_the_next_look",
    ),
    Planted(
        "commit_settled: pivot not rewritten",
        "control/servers/commits.py",
        "            elif current is not None and current.mod_revision == pivot.mod_revision:",
        "            elif False:",
        test="tests/unit/servers/test_settling.py",
    ),
    Planted(
        "agent: report said once",
        "agents/jobs.py",
        "            if applied is not None and report == worker.report:",
        "            if True:",
        test="tests/unit/agents/test_jobs.py::test_a_report_is_repeated_until_it_is_answered",
    ),
    Planted(
        "agent: older generation accepted",
        "agents/decide.py",
        "    if generation < memory.generation:",
        "    if False:",
        test="tests/unit/agents/test_decide.py",
    ),
    Planted(
        "runner: takeover raises no generation",
        "control/conductor/cell/runner.py",
        "        if operation.create_revision > fence.create_revision "
        "or self._raised.get(server) == fence.create_revision:",
        "        if True:",
        test="tests/unit/conductor/test_late_writes.py",
    ),
    Planted(
        "runner: finish compares neither server nor operation",
        "control/conductor/cell/commit.py",
        "                .replace(instance, decision.instance)\n                .remove(operation)\n",
        "                .put(instance.key, decision.instance)\n                .delete(operation.key)\n",
        aim="boot finish",
    ),
    Planted(
        "admission: usage not compared",
        "control/servers/admission.py",
        "            txn = plan.txn.replace(pivot, plan.usage)",
        "            txn = plan.txn.put(pivot.key, plan.usage)",
        aim="accept server",
    ),
    Planted(
        "builds: clear does not compare the cell's operation",
        "control/conductor/top/builds.py",
        "                txn.remove(running)",
        "                txn.delete(running.key)",
        test="tests/unit/conductor/test_handover.py",
        aim="clear cell",
    ),
    Planted(
        "group commit: conflicts ignored",
        "kv/groups.py",
        "        return not (\n            self.writes",
        "        return False and not (\n            self.writes",
        test="tests/contract/test_group_calls.py::test_two_that_each_compare_what_the_other_writes_are_never_one_call",
    ),
    Planted(
        "inventory: stray removed at first sight",
        "agents/inventory.py",
        "[stray for stray in answer.strays if stray in self._suspects]",
        "list(answer.strays)",
        test="tests/unit/agents/test_inventory.py",
    ),
    Planted(
        "judge: an operation at work here does not excuse",
        "control/conductor/cell/reconcile.py",
        "        if not _concerns(records[server].operation, host)",
        "        if True",
        test="tests/unit/conductor/test_reconcile.py",
    ),
    Planted(
        "observer: operation's absence not compared",
        "control/conductor/cell/initiative.py",
        ".replace(stored, after).absent(Cell.OPERATIONS(shard_of(after.uuid), after.uuid))",
        ".replace(stored, after)",
        test="tests/unit/conductor/test_late_writes.py",
    ),
    Planted(
        "delete: server not compared",
        "control/servers/change.py",
        "    txn.replace(at.instance, after)\n    _put_operation(txn, at.operation, operation)\n"
        "    await _commit(top.cells.store(at.cell), txn, at, operation)\n\n\nasync def update_server",
        "    txn.put(at.instance.key, after)\n    _put_operation(txn, at.operation, operation)\n"
        "    await _commit(top.cells.store(at.cell), txn, at, operation)\n\n\nasync def update_server",
        aim="accept delete",
    ),
    Planted(
        "outbox: claim kept when a build is taken back",
        "control/conductor/top/outboxes.py",
        "        await add_release(self._top, txn, [mapping.value], refund=False)",
        "        pass",
        test="tests/unit/conductor/test_late_writes.py",
        aim="take back",
    ),
    Planted(
        "cell fence not rewritten after an unknown outcome",
        "control/conductor/top/fences.py",
        "            self._sure[store].discard(shard)",
        "            pass",
        test="tests/unit/conductor/test_fences.py",
    ),
    Planted(
        "outbox: attempt not compared",
        "control/conductor/top/outboxes.py",
        "        if mapping and mapping.value.cell == cell and mapping.value.attempt == record.value.attempt:",
        "        if mapping and mapping.value.cell == cell:",
        test="tests/unit/conductor/test_late_writes.py",
    ),
    Planted(
        "outbox: forget does not compare the mapping",
        "control/conductor/top/obituaries.py",
        "txn.remove(mapping)",
        "txn.delete(mapping.key)",
        test="tests/unit/conductor/test_outboxes.py",
    ),
    Planted(
        "outbox: refund does not compare the quota",
        "control/conductor/top/obituaries.py",
        "        txn.replace(usage, spent)",
        "        txn.put(usage.key, spent)",
        test="tests/unit/conductor/test_outboxes.py",
    ),
    Planted(
        "builds: clear skips a cancel noted in the cell",
        "control/conductor/top/builds.py",
        "        if running and running.value.cancel and not op.cancel:",
        "        if False:",
        test="tests/unit/conductor/test_late_writes.py",
        aim="accept delete",
    ),
    Planted(
        "builds: cancel believed without looking into the cell",
        "control/conductor/top/builds.py",
        "            if op.cancel and await self._fenced_get(store, shard, draft) is None:",
        "            if op.cancel:",
        test="tests/unit/conductor/test_late_writes.py",
        aim="place",
    ),
)
"""Each compare that a transaction's own purpose makes is removed by `compares` beside these."""
