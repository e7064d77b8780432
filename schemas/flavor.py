"""Flavors and key pairs as the API keeps them."""

from datetime import datetime

from attrs import field, frozen

from schemas.codec import record
from schemas.server import FlavorCopy


@record(1)
@frozen
class Flavor:
    id: str
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: dict[str, str] = field(factory=dict)
    projects: tuple[str, ...] = ()
    """that may use it when it is not public"""

    def copy_for_server(self) -> FlavorCopy:
        return FlavorCopy(
            id=self.id,
            name=self.name,
            vcpus=self.vcpus,
            memory_mb=self.memory_mb,
            root_gb=self.root_gb,
            ephemeral_gb=self.ephemeral_gb,
            swap_mb=self.swap_mb,
            extra_specs=self.extra_specs,
        )


@record(1)
@frozen
class KeyPair:
    user: str
    name: str
    public_key: str
    fingerprint: str
    created: datetime
    type: str = "ssh"
