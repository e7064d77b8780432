"""The log of usage audits. Nothing here audits usage by period (os-simple-tenant-usage tells it at any time), so that
every host is one that has not run its audit, as in a Nova that is left at its defaults."""

from datetime import UTC, datetime
from typing import Final

from control.cells.hosts import list_hosts
from control.compute.call import Body, Call
from runtime import ambient
from schemas.errors import BadRequest

FORMS: Final = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")


async def index(call: Call) -> Body:
    return {"instance_usage_audit_logs": await _log(call, ambient.now())}


async def show(call: Call) -> Body:
    return {"instance_usage_audit_log": await _log(call, _moment(call.params["before"]))}


async def _log(call: Call, before: datetime) -> Body:
    hosts = [host.mapping.host for host in await list_hosts(call.top)]
    begin, end = last_month(before)
    done = f"0 of {len(hosts)} hosts done." if hosts else "ALL hosts done."
    return {
        "period_beginning": str(begin.replace(tzinfo=None)),
        "period_ending": str(end.replace(tzinfo=None)),
        "num_hosts": len(hosts),
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": len(hosts),
        "hosts_not_run": hosts,
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": f"{done} 0 errors.",
        "log": {},
    }


def last_month(before: datetime) -> tuple[datetime, datetime]:
    """The last calendar month that was over then, from its first day to the next month's."""
    end = datetime(before.year, before.month, 1, tzinfo=UTC)
    begin = end.replace(month=end.month - 1) if end.month > 1 else end.replace(year=end.year - 1, month=12)
    return begin, end


def _moment(text: str) -> datetime:
    for form in FORMS:
        try:
            found = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if found.year > 1:  # the month before the first has no name
            return found
    raise BadRequest(f"Invalid timestamp for date {text}")
