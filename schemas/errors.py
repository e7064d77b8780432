"""The one error tree. Each class says which HTTP code and fault name a client sees and whether a retry can help.

    KilonovaError
    ├── BadRequest 400
    │   ├── UnknownProvider 400   a resource provider that a body names does not exist
    │   ├── DuplicateKey 400      a query key is repeated that may not be
    │   ├── BadValue 400          a query's value makes no sense beside the others
    │   └── MissingValue 400      a query lacks what it needs
    ├── Unauthorized 401
    ├── Forbidden 403
    │   └── QuotaExceeded 403
    ├── NotFound 404
    ├── MethodNotAllowed 405
    ├── NotAcceptable 406
    ├── Conflict 409
    │   ├── WrongState 409        the server is not in a state that allows this
    │   ├── Locked 409            the server is locked
    │   ├── ConcurrentUpdate 409  a generation is not the one that was given, or a race was lost
    │   ├── DuplicateName 409     a resource provider has this name or uuid
    │   ├── InventoryInUse 409    something is allocated from it
    │   ├── ProviderInUse 409     something is allocated from it
    │   └── HasChildren 409       the resource provider is another one's parent
    ├── Gone 410
    ├── TooLarge 413
    │   └── StorageFull 413       the object store has no room for an image's bytes
    ├── UnsupportedMediaType 415
    ├── RangeUnsatisfiable 416
    ├── TooManyRequests 429       of one source, account or project; says when to ask again
    ├── NotImplementedHere 501
    ├── Unavailable 503
    │   ├── StoreUnavailable 503  etcd did not answer in time
    │   │   ├── CellDown          ... for a while: nothing was sent to it
    │   │   ├── UnknownOutcome    ... to a write, which may still apply later
    │   │   ├── StoreOverloaded   too many calls wait for etcd: this one was not sent
    │   │   └── HistoryCompacted  etcd no longer has the revision that was asked for
    │   ├── StoreFull 503         etcd raised NOSPACE
    │   ├── BusUnavailable 503    NATS did not answer in time
    │   │   ├── BusRefused        ... since it and we do not accept each other's credentials
    │   │   └── SubjectForbidden  ... since our user of NATS may not use the subject
    │   └── NobodyListens 503     no process serves the subject right now
    ├── UnreadableRecord          stored or received bytes are not the record that was expected
    ├── UnwritableRecord          a record or message holds what cannot be encoded
    ├── ReleaseRefused            the process and the site are too many releases apart
    ├── CompareFailed             a guarded transaction lost: decide again on fresh state
    ├── NoValidHost               no host can take the server
    └── HostError                 the hypervisor could not do it
        ├── CommandRefused        the agent will not: stale generation or session
        ├── GuestNotFound         the host has no such guest
        ├── HostFull              disk or memory of the host is exhausted
        ├── ImageUnusable         the image's bytes cannot be had or do not match
        └── HypervisorDown        libvirt does not answer

Errors cross the bus by class name and message (`to_wire`, `from_wire`).
"""

from typing import ClassVar, Final

FAULT_NAMES: Final = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
"""Nova's names of error bodies by HTTP code; every other code is `computeFault`."""


def fault_name(code: int) -> str:
    return FAULT_NAMES.get(code, "computeFault")


class KilonovaError(Exception):
    """What went wrong, said to the one who can do something about it."""

    code: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    label: ClassVar[str] = "placement.undefined_code"
    """the code that Placement gives in its error bodies"""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(KilonovaError):
    code = 400


class UnknownProvider(BadRequest):
    label = "placement.resource_provider.not_found"


class DuplicateKey(BadRequest):
    label = "placement.query.duplicate_key"


class BadValue(BadRequest):
    label = "placement.query.bad_value"


class MissingValue(BadRequest):
    label = "placement.query.missing_value"


class Unauthorized(KilonovaError):
    code = 401


class Forbidden(KilonovaError):
    code = 403


class QuotaExceeded(Forbidden):
    pass


class NotFound(KilonovaError):
    code = 404


class MethodNotAllowed(KilonovaError):
    code = 405


class NotAcceptable(KilonovaError):
    code = 406


class Conflict(KilonovaError):
    code = 409


class WrongState(Conflict):
    pass


class Locked(Conflict):
    pass


class ConcurrentUpdate(Conflict):
    label = "placement.concurrent_update"
    retryable = True


class DuplicateName(Conflict):
    label = "placement.duplicate_name"


class InventoryInUse(Conflict):
    label = "placement.inventory.inuse"


class ProviderInUse(Conflict):
    label = "placement.resource_provider.inuse"


class HasChildren(Conflict):
    label = "placement.resource_provider.cannot_delete_parent"


class Gone(KilonovaError):
    code = 410


class TooLarge(KilonovaError):
    code = 413


class StorageFull(TooLarge):
    pass


class UnsupportedMediaType(KilonovaError):
    code = 415


class RangeUnsatisfiable(KilonovaError):
    code = 416


class TooManyRequests(KilonovaError):
    """`retry_after`: seconds until a further request has a chance."""

    code = 429
    retryable = True

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = max(1, round(retry_after))


class NotImplementedHere(KilonovaError):
    code = 501


class Unavailable(KilonovaError):
    code = 503
    retryable = True


class StoreUnavailable(Unavailable):
    pass


class CellDown(StoreUnavailable):
    pass


class UnknownOutcome(StoreUnavailable):
    pass


class StoreOverloaded(StoreUnavailable):
    pass


class HistoryCompacted(StoreUnavailable):
    pass


class StoreFull(Unavailable):
    pass


class BusUnavailable(Unavailable):
    pass


class BusRefused(BusUnavailable):
    pass


class SubjectForbidden(BusUnavailable):
    pass


class NobodyListens(Unavailable):
    pass


class UnreadableRecord(KilonovaError):
    pass


class UnwritableRecord(KilonovaError):
    pass


class ReleaseRefused(KilonovaError):
    pass


class CompareFailed(KilonovaError):
    code = 409
    retryable = True


class NoValidHost(KilonovaError):
    pass


class HostError(KilonovaError):
    pass


class CommandRefused(HostError):
    pass


class GuestNotFound(HostError):
    code = 404


class HostFull(HostError):
    pass


class ImageUnusable(HostError):
    pass


class HypervisorDown(HostError):
    retryable = True


def _tree(root: type[KilonovaError]) -> dict[str, type[KilonovaError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_NAME: Final = _tree(KilonovaError)


def to_wire(error: BaseException) -> dict[str, str]:
    """Class name and message; what is not ours crosses as a KilonovaError that names its class."""
    if isinstance(error, KilonovaError):
        return {"error": type(error).__name__, "message": error.message}
    return {"error": "KilonovaError", "message": f"{type(error).__name__}: {error}"}


def from_wire(name: str, message: str) -> KilonovaError:
    return BY_NAME.get(name, KilonovaError)(message)
