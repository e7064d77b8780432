"""What etcd says to a request that it does not carry out."""

from typing import Final

import grpc

Refusal = tuple[grpc.StatusCode, str]

EMPTY_KEY: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPERATIONS: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
TOO_LARGE: Final = (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large")
COMPACTED: Final = (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE: Final = (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
TTL_TOO_LARGE: Final = (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: too large lease TTL")
LEASE_NOT_FOUND: Final = (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found")

UNREACHABLE: Final = (grpc.StatusCode.UNAVAILABLE, "the connection was lost")
TIMED_OUT: Final = (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
CANCELLED: Final = (grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
CLOSED: Final = (grpc.StatusCode.CANCELLED, "Channel closed.")


def refused(refusal: Refusal) -> grpc.aio.AioRpcError:
    code, detail = refusal
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=detail)
