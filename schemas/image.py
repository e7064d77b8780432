"""An image: its metadata and the digest of its bytes, which lie in the bus's object store."""

from datetime import datetime

from attrs import field, frozen

from schemas.codec import record


@frozen
class Member:
    """A project that a shared image was offered to. `status`: pending, accepted, rejected."""

    status: str
    created: datetime
    updated: datetime


@frozen
class Facts:
    """What is known of bytes that came in: how many, and their hashes in hex."""

    size: int
    sha256: str
    md5: str
    sha512: str


@record(1)
@frozen
class Image:
    """`status`: queued, saving, uploading, importing, active, killed, deactivated. `digest` is `sha256:<hex>`, set when
    it is active."""

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
    hidden: bool = False
    members: dict[str, Member] = field(factory=dict)
    upload: str | None = None
    """the object that is being filled, or was filled and waits for its import"""
    staged: Facts | None = None
    """of the bytes that wait for their import, while `uploading`"""


@record(1)
@frozen
class ImageUsage:
    """What one project's images take. `bytes` are those of active images."""

    images: int = 0
    bytes: int = 0


@record(1)
@frozen
class Blob:
    """Verified bytes in the object store, shared by all images of one digest. `digest` is `sha256:<hex>`."""

    digest: str
    object: str
    size: int
    images: frozenset[str]


@record(1)
@frozen
class Waste:
    """An object that no blob names: being filled for `image` until then, or to be deleted. Once it is condemned,
    nobody may adopt it."""

    object: str
    image: str
    until: datetime
    condemned: bool = False
