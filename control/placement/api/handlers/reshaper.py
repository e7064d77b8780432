"""The reshaper."""

from control.placement.api.call import Answer, Call
from control.placement.api.handlers import allocations, inventories
from control.placement.writes.guards import GUARDS
from control.placement.writes.reshape import Offer, reshape
from schemas.errors import BadRequest, Conflict, NotFound


async def post(call: Call) -> Answer:
    offers = {
        uuid.lower(): Offer(
            whole["resource_provider_generation"],
            {name: inventories.parse(name, body) for name, body in whole["inventories"].items()},
        )
        for uuid, whole in call.body["inventories"].items()
    }
    claims = [allocations.parse(call, consumer.lower(), body) for consumer, body in call.body["allocations"].items()]
    lanes = {*offers, *(uuid for claim in claims for uuid in claim.resources)}
    try:
        await call.writer.write(lambda reading: (reshape(reading, offers, claims, call.now, GUARDS), None), lanes)
    except NotFound as error:
        raise BadRequest(f"malformed reshaper data: {error.message}") from None
    except Conflict as error:
        if type(error) is Conflict:
            raise Conflict(f"Unable to allocate inventory: {error.message}") from None
        raise
    return Answer(status=204)
