"""Version documents: what discovery reads before it has a token. Pure."""

from typing import Any, Final

from control.compute.microversions import MAX, MIN, text

Json = dict[str, Any]

MEDIA_TYPE: Final = "application/vnd.openstack.compute+json;version=2.1"
UPDATED: Final = {"v2.0": "2011-01-21T11:33:21Z", "v2.1": "2013-07-23T11:33:21Z"}
PATHS: Final = {"v2.0": "v2", "v2.1": "v2.1"}


def every_version(root: str) -> Json:
    return {"versions": [_brief(name, root) for name in PATHS]}


def one_version(name: str, root: str) -> Json:
    brief = _brief(name, root)
    described = {"rel": "describedby", "type": "text/html", "href": f"{root}/openapi.json"}
    media = {"base": "application/json", "type": MEDIA_TYPE.replace("2.1", name[1:].removesuffix(".0"))}
    return {"version": {**brief, "links": [*brief["links"], described], "media-types": [media]}}


def choices(root: str, path: str) -> Json:
    """What an unversioned URL could have meant."""
    return {
        "choices": [
            {
                "id": name,
                "status": _status(name),
                "links": [{"rel": "self", "href": f"{root}/{PATHS[name]}{path}"}],
                "media-types": [{"base": "application/json", "type": MEDIA_TYPE}],
            }
            for name in PATHS
        ]
    }


def _brief(name: str, root: str) -> Json:
    spoken = name == "v2.1"
    return {
        "id": name,
        "status": _status(name),
        "version": text(MAX) if spoken else "",
        "min_version": text(MIN) if spoken else "",
        "updated": UPDATED[name],
        "links": [{"rel": "self", "href": f"{root}/{PATHS[name]}/"}],
    }


def _status(name: str) -> str:
    return "CURRENT" if name == "v2.1" else "SUPPORTED"
