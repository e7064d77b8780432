"""An image: its metadata and the digest of its bytes, which lie in the bus's object store."""

from datetime import datetime

from attrs import field, frozen

from schemas.codec import record


@record(1)
@frozen
class Image:
    """`status`: queued, saving, active, killed, deactivated. `digest` is `sha256:<hex>`, set when it is active."""

    id: str
    name: str | None
    owner: str
    created: datetime
    updated: datetime
    status: str = "queued"
    visibility: str = "shared"
    protected: bool = False
    disk_format: str | None = None
    container_format: str | None = None
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    size: int | None = None
    virtual_size: int | None = None
    digest: str | None = None
    checksum: str | None = None
    """MD5, as Glance shows it"""
    os_hash_value: str | None = None
    """SHA-512"""
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = field(factory=dict)
