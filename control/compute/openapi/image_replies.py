"""What answers about images look like."""

from typing import Any

from control.openapi.shapes import INTEGER, SECONDS, STRING, URL, array, mapping, nullable, obj, one_of, page, partly

Schema = dict[str, Any]

_LINK = partly({"rel": one_of("self", "bookmark", "alternate"), "href": URL, "type": STRING}, {"type"})
_BRIEF: Schema = {"id": STRING, "name": nullable(STRING), "links": array(_LINK)}
_FULL = partly(
    {
        **_BRIEF,
        "minRam": INTEGER,
        "minDisk": INTEGER,
        "metadata": mapping(STRING),
        "created": SECONDS,
        "updated": SECONDS,
        "status": one_of("ACTIVE", "SAVING", "ERROR", "UNKNOWN"),
        "progress": INTEGER,
        "OS-EXT-IMG-SIZE:size": nullable(INTEGER),
        "server": obj({"id": STRING, "links": array(_LINK)}),
        "OS-DCF:diskConfig": one_of("AUTO", "MANUAL"),
    },
    {"server", "OS-DCF:diskConfig"},
)


def brief_list(_: int) -> Schema:
    return page("images", obj(_BRIEF))


def detail(_: int) -> Schema:
    return page("images", _FULL)


def show(_: int) -> Schema:
    return obj({"image": _FULL})
