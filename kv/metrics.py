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
