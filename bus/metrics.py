"""Prometheus metrics of the bus."""

from prometheus_client import Counter, Histogram

REQUESTS = Histogram(
    "kilonova_bus_request_seconds",
    "Requests sent, by kind of message",
    ["message"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
HANDLED = Counter("kilonova_bus_handled", "Requests and hints served, by function and outcome", ["function", "outcome"])
