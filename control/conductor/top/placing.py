"""The records of a server that goes into a cell, and what is left of its build at the top then. Pure."""

from datetime import datetime
from typing import Any

from attrs import evolve

from control.servers.find import instance_key
from kv.keys import Cell, Global
from kv.txn import Stored, Txn
from schemas.codec import from_dict
from schemas.operation import Line, Operation
from schemas.server import BuildRequest, HostedServer, InstanceMapping, ServerIndex, UserData, time_key
from schemas.shards import shard_of
from schemas.topology import TopologyClaim


def placing(
    op: Operation, request: BuildRequest, cell: str, inputs: dict[str, Any], deadline: datetime, now: datetime
) -> Txn:
    """Writes the server and its boot, whose spawn has `inputs` and `deadline`, into the cell; fails when the server is
    there. The request's secrets are sealed for the cell already."""
    draft, host = request.instance, str(op.host)
    instance = evolve(
        draft,
        host=host,
        node=op.results["node"],
        vm_state="building",
        task_state="spawning",
        fault=None,
        attempt=op.attempt,
        generation=op.generation,
        availability_zone=op.results.get("zone") or draft.availability_zone,
        topology=from_dict(TopologyClaim, lies) if (lies := op.results.get("topology")) else None,
        updated=now,
    )
    boot = Operation(
        server=op.server,
        kind="boot",
        step="spawn",
        started=op.started,
        deadline=deadline,
        request_id=op.request_id,
        user=op.user,
        project=op.project,
        created_us=op.created_us,
        attempt=op.attempt,
        generation=op.generation,
        host=host,
        inputs=inputs,
        results={k: v for k, v in op.results.items() if k in ("tried", "alternates")},
        story=(*op.story, Line(now, f"handed to cell {cell}")),
    )
    txn = (
        Txn("place")
        .create(instance_key(draft), instance)
        .put(Cell.BY_HOST(host, op.server), HostedServer(op.project, op.created_us))
        .create(Cell.OPERATIONS(shard_of(op.server), op.server), boot)
    )
    if request.user_data is not None:
        txn.put(Cell.USER_DATA(op.server), UserData(request.user_data))
    return txn


def handing_over(
    operation: Stored[Operation], request: Stored[BuildRequest], mapping: Stored[InstanceMapping], cell: str
) -> Txn:
    """From now on the server is its cell's. Compares the request, which was copied."""
    op = operation.value
    after = evolve(mapping.value, cell=cell, attempt=op.attempt, generation=op.generation)
    when = time_key(op.created_us, op.server)
    return (
        Txn("hand over")
        .replace(mapping, after)
        .put(Global.PROJECT_SERVERS(op.project, when), ServerIndex(op.project, cell))
        .remove(request)
        .remove(operation)
    )
