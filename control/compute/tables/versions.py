"""Versions of the API as a resource, and extensions."""

from control.compute.handlers import extensions
from control.compute.operation import Operation

OPERATIONS = (
    Operation(
        "extensions.list",
        "GET",
        "/extensions",
        extensions.index,
        rule="extensions",
        reply=("extensions",),
    ),
    Operation(
        "extensions.show",
        "GET",
        "/extensions/{alias}",
        extensions.show,
        rule="extensions",
        reply=("extension",),
    ),
)
