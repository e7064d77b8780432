"""Times as the API writes them."""

from datetime import UTC, datetime


def seconds(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`"""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micros(moment: datetime | None) -> str | None:
    """`2026-01-02T03:04:05.000006`: UTC without saying so."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else None
