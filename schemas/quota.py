"""What a project may use and uses."""

from attrs import field, frozen

from schemas.codec import record

DEFAULT_LIMITS = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "key_pairs": 100,
    "metadata_items": 128,
    "server_groups": 10,
    "server_group_members": 10,
}
"""Nova's defaults; ram in MiB; -1 is unlimited."""


@record(1)
@frozen
class QuotaLimits:
    limits: dict[str, int] = field(factory=dict)


@record(1)
@frozen
class Tally:
    """How many of a thing somebody has: compared and rewritten by who makes or deletes one, so that no race passes a
    limit."""

    count: int = 0


@frozen
class Used:
    """Of what is charged."""

    instances: int = 0
    cores: int = 0
    ram: int = 0
    server_groups: int = 0


@record(1)
@frozen
class QuotaUsage(Used):
    """Charged in the transaction that makes a server, refunded in the one that ends it. A project's whole and what each
    of its users uses of it are one record, so that one compare keeps the limits of both."""

    users: dict[str, Used] = field(factory=dict)
    """who uses nothing is left out"""
