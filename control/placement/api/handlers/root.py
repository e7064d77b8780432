"""The front page: which versions there are."""

from control.placement.api import microversions
from control.placement.api.call import Answer, Call


async def show(call: Call) -> Answer:
    version = {
        "id": "v1.0",
        "max_version": microversions.text(microversions.MAX),
        "min_version": microversions.text(microversions.MIN),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return Answer({"versions": [version]}, modified=call.now)
