"""Placement over HTTP on a real etcd."""

from collections.abc import AsyncIterator

import pytest
from placement_client import Client, client_of, opened

from control.placement.api.room import Room
from kv.store import Store


@pytest.fixture
async def room(store: Store) -> AsyncIterator[Room]:
    async with opened(store) as room:
        yield room


@pytest.fixture
async def api(room: Room) -> AsyncIterator[Client]:
    async with client_of(room) as client:
        yield client
