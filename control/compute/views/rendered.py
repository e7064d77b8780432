"""Servers as JSON: what was rendered for the like of this viewer is not rendered again.

Keyed by the record's revision and all else that the view is made of, so nothing has to be invalidated. User data is no
part of the key: it changes with the record.
"""

from itertools import count
from typing import Final

import orjson

from control.compute.urls import Urls
from control.compute.views import servers as views
from control.compute.views.servers import Look, Viewer
from control.servers.find import Found

SIZE: Final = 10_000
"""servers, each about 2 kB"""
LOOKERS: Final = 64

_lookers: dict[tuple[Viewer, Urls, bool], int] = {}
"""numbers of those who look alike; `single` is the body of show, else of a detailed list"""
_numbers: Final = count()
_rendered: dict[tuple[int, str], tuple[tuple[object, ...], orjson.Fragment]] = {}


def looker(look: Look, *, single: bool) -> int:
    """The number that `known` and `render` take."""
    key = look.viewer, look.urls, single
    if key not in _lookers:
        if len(_lookers) >= LOOKERS:
            _lookers.clear()
            _rendered.clear()
        # Never one that was given before: who took it is still looking, and may see more than who comes now.
        _lookers[key] = next(_numbers)
    return _lookers[key]


def known(found: Found, look: Look, number: int) -> orjson.Fragment | None:
    """None: it has to be rendered."""
    key = number, found.instance.uuid
    kept = _rendered.get(key)
    if kept is None or kept[0] != _state(found, look):
        return None
    if len(_rendered) > SIZE // 2:  # what is asked for goes to the end, where it is forgotten last
        _rendered[key] = _rendered.pop(key)
    return kept[1]


def render(found: Found, look: Look, number: int, *, single: bool) -> orjson.Fragment:
    """`look` has the user data."""
    server = found.instance
    if found.down:
        return orjson.Fragment(orjson.dumps(views.unreachable(server, look, single=single)))
    fragment = orjson.Fragment(orjson.dumps(views.server(server, look, single=single)))
    if found.revision:
        _rendered.pop((number, server.uuid), None)
        if len(_rendered) >= SIZE:
            del _rendered[next(iter(_rendered))]
        _rendered[number, server.uuid] = _state(found, look), fragment
    return fragment


def _state(found: Found, look: Look) -> tuple[object, ...]:
    uuid = found.instance.uuid
    return found.cell, found.revision, look.host_statuses.get(uuid), look.groups.get(uuid)
