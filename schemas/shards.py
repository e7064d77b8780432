"""Work is divided into 64 shards a store, by server uuid or host name."""

from hashlib import blake2b
from typing import Final

SHARDS: Final = 64


def shard_of(name: str) -> int:
    """Stable over processes, machines and releases."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big") % SHARDS
