"""What users were answered, and so what records must say from then on."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field

FIELDS = ("name", "description", "locked_by", "tags")
"""of a server's record that users change as a whole; metadata changes key by key"""


@define
class _Field:
    """What a field of one record may hold."""

    allowed: list[Any]
    pending: list[Any] = field(factory=list)
    """asked for, and not answered yet or never"""


@define
class Promises:
    """What was answered, by uuid. `charged` were accepted with a parent that may have yet to write them; of `doubtful`
    a delete was asked for, with or without an answer; of `reset` the state, and what is on the host is open."""

    answered: list[str] = field(factory=list)
    charged: list[str] = field(factory=list)
    doubtful: dict[str, None] = field(factory=dict)
    deleted: dict[str, None] = field(factory=dict)
    reset: dict[str, None] = field(factory=dict)
    _fields: dict[str, dict[str, _Field]] = field(factory=dict)

    def there(self) -> list[str]:
        """Those that a user may ask for something."""
        return [uuid for uuid in self.answered if uuid not in self.deleted]

    def all(self) -> list[str]:
        return [*self.answered, *self.charged]

    def asked(self, uuid: str, name: str, before: Any, value: Any) -> None:
        """An update is under way: both what was there and the new value are right."""
        known = self._fields.setdefault(uuid, {}).setdefault(name, _Field([before]))
        known.pending.append(value)

    def updated(self, uuid: str, name: str, value: Any) -> None:
        """It was answered 2xx: from now on what was there before is wrong."""
        known = self._fields[uuid][name]
        known.pending.remove(value)
        known.allowed = [value]

    def promised(self, uuid: str) -> bool:
        return uuid in self._fields

    def broken(self, uuid: str, record: Mapping[str, Any]) -> list[str]:
        """Each field of a server's record, as in the store, that is not as answered."""
        found = []
        for name, known in self._fields.get(uuid, {}).items():
            if name.startswith("metadata."):
                value = record.get("metadata", {}).get(name.removeprefix("metadata."))
            elif name == "tags":
                value = tuple(record.get("tags", ()))
            else:
                value = record.get(name)
            if value not in known.allowed and value not in known.pending:
                found.append(f"{uuid}: {name} is {value!r}, answered was {known.allowed[-1]!r}")
        return found
