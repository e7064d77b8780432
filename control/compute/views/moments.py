"""Times as the API writes them."""

from datetime import UTC, datetime, timedelta


def seconds(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`"""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micros(moment: datetime | None) -> str | None:
    """`2026-01-02T03:04:05.000006`: UTC without saying so."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else None


def from_second(moment: datetime) -> datetime:
    """What is shown in seconds is at or after `moment` exactly when its record is at or after this."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)


def before_second(moment: datetime) -> datetime:
    """What is shown in seconds is at or before `moment` exactly when its record is before this."""
    return moment.replace(microsecond=0) + timedelta(seconds=1)
