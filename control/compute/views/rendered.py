"""Servers in detail, in JSON: what was rendered for the like of this viewer is not rendered again.

Keyed by the record's revision and all else that the view is made of, so nothing has to be invalidated.
"""

from typing import Any, Final

import orjson

from control.compute.urls import Urls
from control.compute.views import servers as views
from control.compute.views.servers import Look, Viewer
from control.servers.find import Found

SIZE: Final = 10_000
"""servers, each about 2 kB"""
LOOKERS: Final = 64

_lookers: dict[tuple[Viewer, Urls], int] = {}
"""numbers of those who look alike"""
_rendered: dict[tuple[int, str], tuple[tuple[object, ...], orjson.Fragment]] = {}


def detailed(page: list[Found], look: Look) -> list[Any]:
    """What orjson takes for each server of the page."""
    looker = _number(look)
    return [_one(found, look, looker) for found in page]


def _one(found: Found, look: Look, looker: int) -> Any:
    server = found.instance
    if found.down:
        return views.unreachable(server, look, single=False)
    if not found.revision:
        return views.server(server, look, single=False)
    state = (found.cell, found.revision, *look.beside(server.uuid))
    known = _rendered.pop((looker, server.uuid), None)
    if known is None or known[0] != state:
        known = state, orjson.Fragment(orjson.dumps(views.server(server, look, single=False)))
        if len(_rendered) >= SIZE:
            del _rendered[next(iter(_rendered))]
    _rendered[looker, server.uuid] = known
    return known[1]


def _number(look: Look) -> int:
    key = look.viewer, look.urls
    if key not in _lookers and len(_lookers) >= LOOKERS:
        _lookers.clear()
        _rendered.clear()
    return _lookers.setdefault(key, len(_lookers))
