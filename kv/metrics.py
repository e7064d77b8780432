"""Prometheus metrics of the store's client."""

from prometheus_client import Counter, Histogram

CALLS = Histogram(
    "kilonova_store_call_seconds",
    "Calls to etcd by kind",
    ["call"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
WRITES = Counter("kilonova_store_key_writes", "Keys written or deleted, by purpose of the transaction", ["purpose"])
TRANSACTIONS = Counter(
    "kilonova_store_transactions", "Writing transactions by purpose and outcome", ["purpose", "outcome"]
)
GROUP_SIZE = Histogram(
    "kilonova_store_group_size", "Transactions that went to etcd as one", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
READ_GROUP_SIZE = Histogram(
    "kilonova_store_read_group_size", "Reads that went to etcd as one", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
FAILURES = Counter("kilonova_store_failures", "Calls to etcd that failed, by kind and gRPC status", ["call", "status"])
MOVES = Counter("kilonova_store_moves", "Times that a failure made the client go to another member of its etcd")
WATCH_LAG = Histogram(
    "kilonova_store_watch_lag_seconds",
    "From asking etcd how far the watches are to its answer, which comes when they were sent everything",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
WATCH_BREAKS = Counter("kilonova_store_watch_breaks", "Times that the watch stream broke or could not be opened")
SHARD_FAILURES = Counter(
    "kilonova_store_shard_failures", "Times that a shard was taken over and could not be started; the log says why"
)
