"""Prometheus metrics of a cell's conductor."""

from prometheus_client import Gauge

FOREIGN = Gauge("kilonova_foreign_guests", "Domains on a host that bear no mark of this site", ["host"])
