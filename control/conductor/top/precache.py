"""Has a host fetch images, one after the other: asks until it has each, gives up what it cannot have."""

import structlog
from attrs import evolve

from control.conductor.top.leave import ImageLeave
from control.servers.draft import image_ref
from control.top import Top
from kv.keys import Global
from kv.shards import Shards
from kv.txn import Stored, Txn
from runtime import ambient
from schemas.codec import to_dict
from schemas.errors import HostFull, ImageUnusable
from schemas.guest import ImageGrant
from schemas.image import Image
from schemas.messages import HostCall, HostCallReply
from schemas.operation import Operation
from schemas.subjects import cell_call

log = structlog.get_logger()

CALL_SECONDS = 9.0


class Precache:
    def __init__(self, top: Top, shards: Shards, leave: ImageLeave) -> None:
        self._top = top
        self._shards = shards
        self._leave = leave

    async def step(self, shard: int, operation: Stored[Operation]) -> bool:
        """True while there is more to do. Raises when the host does not answer now: it is asked again."""
        op = operation.value
        images: list[str] = op.inputs["images"]
        if not images or ambient.now() > op.deadline:
            if images:
                log.warning("images not cached in time", host=op.host, images=images)
            await self._commit(shard, Txn("images cached").remove(operation))
            return False
        stored = await self._top.store.get(Global.IMAGES(images[0]))
        if stored is not None and stored.value.status == "active" and not await self._is_done(op, stored.value):
            return True
        rest = evolve(op, inputs={**op.inputs, "images": images[1:]})
        await self._commit(shard, Txn("image cached").replace(operation, rest))
        return True

    async def _is_done(self, op: Operation, image: Image) -> bool:
        """Whether the host has it, or never will."""
        ref, cell, host = image_ref(image), op.inputs["cell"], op.host or ""
        url = self._leave.inputs(ref, cell, ambient.now())["image_url"]
        grant = ImageGrant(ref.id, ref.digest, ref.size, "qcow2" if ref.disk_format == "qcow2" else "raw", url)
        question = HostCall(cell, host, "cache-image", "", {"image": to_dict(grant)})
        bus = self._top.cells.bus(cell)
        try:
            answer = await bus.request(cell_call(cell), question, HostCallReply, CALL_SECONDS)
        except (ImageUnusable, HostFull) as error:
            log.warning("image not cached", host=host, image=image.id, reason=error.message)
            return True
        return answer.output == "cached"

    async def _commit(self, shard: int, txn: Txn) -> int:
        return await self._top.store.commit(self._shards.guard(txn, shard))
