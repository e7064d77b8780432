"""Images as one who asks may have them: found, changed and removed under the rules, whichever API was asked."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from attrs import evolve, frozen

from control.images.access import require_seen
from control.images.blobs import Blobs
from control.images.policy import check
from control.images.quota import charge, require_small
from control.rules import Rules
from kv.keys import Global
from kv.store import Store
from kv.txn import Stored, Txn
from schemas.errors import CompareFailed, Conflict, Forbidden
from schemas.identity import Identity
from schemas.image import Image

TRIES: Final = 10


@frozen
class Shelf:
    store: Store
    blobs: Blobs
    rules: Rules

    async def image(self, who: Identity, image_id: str, rule: str = "get_image") -> Stored[Image]:
        """One that `who` may see and do `rule` with. Raises NotFound also when it is not for these eyes, Forbidden."""
        stored = await self.store.get(Global.IMAGES(image_id))
        image = require_seen(stored.value if stored else None, image_id, who)
        assert stored is not None
        check(self.rules, rule, who, image)
        return stored

    async def change(
        self, who: Identity, image_id: str, apply: Callable[[Image], Image], rule: str = "modify_image"
    ) -> Image:
        """Applies a change to the image as it is now."""
        for _ in range(TRIES):
            stored = await self.image(who, image_id, rule)
            changed = apply(stored.value)
            if changed == stored.value:
                return changed
            changed = evolve(changed, updated=datetime.now(UTC))
            require_small(changed)
            txn = Txn("image-update").replace(stored, changed)
            if changed.owner != stored.value.owner:
                await charge(self.store, txn, stored.value.owner, -1, -(changed.size or 0))
                await charge(self.store, txn, changed.owner, 1, changed.size or 0)
            try:
                await self.store.commit(txn)
            except CompareFailed:
                continue
            return changed
        raise _restless(image_id)

    async def delete(self, who: Identity, image_id: str) -> None:
        """Its bytes go with it unless another image has the same. Raises Forbidden for a protected one."""
        for _ in range(TRIES):
            stored = await self.image(who, image_id, "delete_image")
            if stored.value.protected:
                raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
            txn = Txn("image-delete").remove(stored)
            await charge(self.store, txn, stored.value.owner, -1, -(stored.value.size or 0))
            waste = await self.blobs.released(txn, stored.value, datetime.now(UTC))
            try:
                await self.store.commit(txn)
            except CompareFailed:
                continue
            if waste:
                await self.blobs.dispose(waste)
            return
        raise _restless(image_id)


def _restless(image_id: str) -> Conflict:
    return Conflict(f"Image {image_id} keeps being changed by others: try again.")
