"""os-hosts, up to 2.42, and the log of usage audits."""

from control.compute.handlers import audit_log, old_hosts
from control.compute.operation import Operation
from control.compute.schemas import old_hosts as s

ALL = "/os-hosts"
ONE = ALL + "/{host}"
LAST = 42
AUDITS = "/os-instance_usage_audit_log"

OPERATIONS = (
    Operation(
        "hosts.list",
        "GET",
        ALL,
        old_hosts.index,
        rule="os-hosts:list",
        role="admin",
        until=LAST,
        query=s.LIST,
        reply=("hosts",),
    ),
    Operation(
        "hosts.show", "GET", ONE, old_hosts.show, rule="os-hosts:show", role="admin", until=LAST, reply=("host",)
    ),
    Operation(
        "hosts.update",
        "PUT",
        ONE,
        old_hosts.update,
        rule="os-hosts:update",
        role="admin",
        until=LAST,
        body=s.UPDATE,
        reply=("host", "status"),
    ),
    Operation(
        "hosts.startup", "GET", ONE + "/startup", old_hosts.power, rule="os-hosts:start", role="admin", until=LAST
    ),
    Operation(
        "hosts.shutdown", "GET", ONE + "/shutdown", old_hosts.power, rule="os-hosts:shutdown", role="admin", until=LAST
    ),
    Operation(
        "hosts.reboot", "GET", ONE + "/reboot", old_hosts.power, rule="os-hosts:reboot", role="admin", until=LAST
    ),
    Operation(
        "usage-audits.list",
        "GET",
        AUDITS,
        audit_log.index,
        rule="os-instance-usage-audit-log:list",
        role="admin",
        reply=("instance_usage_audit_logs",),
    ),
    Operation(
        "usage-audits.show",
        "GET",
        AUDITS + "/{before}",
        audit_log.show,
        rule="os-instance-usage-audit-log:show",
        role="admin",
        reply=("instance_usage_audit_log",),
    ),
)
