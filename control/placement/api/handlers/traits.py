"""The traits that there are."""

from collections.abc import Set

from control.placement.api import links
from control.placement.api.call import Answer, Call
from control.placement.api.handlers.erasure import erase
from control.placement.reading import Reading
from control.placement.vocabulary import STANDARD_TRAITS, in_order, is_custom
from control.placement.writes import names as writes
from kv.keys import Global
from schemas.errors import BadRequest, Conflict

_BAD_NAME = (
    "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix "
    '"CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_"'
)
_BAD_FILTER = (
    "Badly formatted name parameter. Expected name query string parameter in form: "
    '?name=[in|startswith]:[name1,name2|prefix]. Got: "{}"'
)


async def index(call: Call) -> Answer:
    forest = await call.view.current()
    names: Set[str] = STANDARD_TRAITS | call.view.traits.keys()
    if "name" in call.query:
        names = _named(names, call.query["name"][-1])
    if "associated" in call.query:
        said = call.query["associated"][-1].lower()
        if said not in ("true", "false"):
            raise BadRequest('The query parameter "associated" only accepts "true" or "false"')
        used = set(forest.with_trait.names())
        names = names & used if said == "true" else names - used
    return Answer({"traits": in_order(Reading(call.view), Global.TRAITS, names)}, modified=call.now)


def _named(names: Set[str], condition: str) -> Set[str]:
    """Raises BadRequest."""
    operator, colon, value = condition.partition(":")
    if colon and operator == "in":
        return names & set(value.split(","))
    if colon and operator == "startswith":
        return {name for name in names if name.startswith(value)}
    raise BadRequest(_BAD_FILTER.format(condition))


async def show(call: Call) -> Answer:
    name = call.params["name"]
    await call.view.current()
    writes.TRAITS.demand(Reading(call.view), name)
    stored = call.view.traits.get(name)
    return Answer(status=204, modified=stored.value.updated if stored else call.now)


async def put(call: Call) -> Answer:
    name = call.params["name"]
    if not is_custom(name):
        raise BadRequest(_BAD_NAME)
    new = await call.writer.write(lambda reading: writes.create(reading, writes.TRAITS, name, call.now))
    stored = call.view.traits.get(name)
    modified = stored.value.updated if stored else call.now
    return Answer(status=201 if new else 204, location=links.trait(call.mount, name), modified=modified)


async def delete(call: Call) -> Answer:
    name = call.params["name"]
    if name in STANDARD_TRAITS:
        raise BadRequest(f"Cannot delete standard trait {name}.")
    refusal = Conflict(f"The trait {name} is in use by a resource provider.")
    await erase(call, writes.TRAITS, name, lambda forest: bool(forest.with_trait[name]), refusal)
    return Answer(status=204)
