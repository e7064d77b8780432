"""Shapes that several of the compute API's answers share."""

from typing import Any, Final

from control.openapi.shapes import STRING, URL, array, obj, one_of

Schema = dict[str, Any]

OWN_LINKS: Final = array(obj({"rel": one_of("self", "bookmark"), "href": URL}))


def named(*names: str) -> Schema:
    """An object of these strings."""
    return obj(dict.fromkeys(names, STRING))
