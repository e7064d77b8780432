"""Fields that hold secrets are not shown when a record is printed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from control.identity.keys import OpenKey
from control.images.ids import ImageIds
from control.servers.draft import ServerDraft
from schemas.guest import GuestSpec, ImageGrant
from schemas.host import BusAddress, StoreAddress
from schemas.identity import AppCredential, SigningKey, User
from schemas.operation import Operation
from schemas.server import Instance, UserData
from schemas.settings import StoreSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "a hidden word"


@pytest.mark.parametrize(
    "record",
    [
        User("u", "name", SECRET, NOW),
        AppCredential("a", "name", "u", "p", SECRET, frozenset()),
        SigningKey("k", SECRET, NOW),
        OpenKey("k", SECRET.encode(), NOW),
        ImageIds(SECRET.encode()),
        UserData(SECRET),
        StoreAddress(("e",), "p/", SECRET),
        BusAddress("nats://n", SECRET),
        StoreSettings(user="u", password=SECRET),
        Operation("s", "boot", "claim", NOW, NOW, inputs={"admin_password": SECRET}),
    ],
    ids=lambda record: type(record).__name__,
)
def test_it_is_not_printed(record: Any) -> None:
    """A log line or a traceback with a record in it told the hash of a password or the key of tokens."""
    assert SECRET not in repr(record)


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (GuestSpec, {"admin_password", "user_data"}),
        (ImageGrant, {"url"}),
        (Instance, {"admin_password"}),
        (ServerDraft, {"admin_password", "user_data"}),
    ],
)
def test_no_field_of_these_is_printed(cls: Any, names: set[str]) -> None:
    assert {field.name for field in cls.__attrs_attrs__ if not field.repr} >= names
