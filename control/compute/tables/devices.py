"""What servers have beside their records: security groups, interfaces, volumes, shares, consoles, migrations."""

from control.compute.handlers import consoles, devices, migrations
from control.compute.operation import Operation
from control.compute.schemas import devices as s

ONE = "/servers/{server}"
ACTION = ONE + "/action"
INTERFACES = ONE + "/os-interface"
VOLUMES = ONE + "/os-volume_attachments"
SHARES = ONE + "/shares"
SHARES_SINCE = 97
MIGRATIONS = ONE + "/migrations"
LAST_OF_ACTIONS = 5
"""the last version in which consoles are asked for by actions"""

OPERATIONS = (
    Operation(
        "server-security-groups.list",
        "GET",
        ONE + "/os-security-groups",
        devices.security_groups,
        rule="os-security-groups:list",
        role="reader",
        reply=("security_groups",),
    ),
    Operation(
        "interfaces.list",
        "GET",
        INTERFACES,
        devices.interfaces,
        rule="os-attach-interfaces:list",
        role="reader",
        reply=("interfaceAttachments",),
    ),
    Operation(
        "interfaces.show",
        "GET",
        INTERFACES + "/{id}",
        devices.interface,
        rule="os-attach-interfaces:show",
        role="reader",
        reply=("interfaceAttachment",),
    ),
    Operation(
        "volume-attachments.list",
        "GET",
        VOLUMES,
        devices.volumes,
        rule="os-volumes-attachments:index",
        role="reader",
        query=s.VOLUMES,
        reply=("volumeAttachments",),
    ),
    Operation(
        "volume-attachments.show",
        "GET",
        VOLUMES + "/{id}",
        devices.volume,
        rule="os-volumes-attachments:show",
        role="reader",
        reply=("volumeAttachment",),
    ),
    Operation(
        "server-shares.list",
        "GET",
        SHARES,
        devices.shares,
        rule="os-server-shares:index",
        role="reader",
        since=SHARES_SINCE,
        reply=("shares",),
    ),
    Operation(
        "server-shares.show",
        "GET",
        SHARES + "/{id}",
        devices.share,
        rule="os-server-shares:show",
        role="reader",
        since=SHARES_SINCE,
        reply=("share",),
    ),
    *(
        Operation(
            f"servers.get-{name}-console",
            "POST",
            ACTION,
            consoles.get_console,
            action=action,
            rule="os-remote-consoles",
            role="member",
            until=LAST_OF_ACTIONS,
            body=body,
            reply=("console",),
        )
        for name, action, body in (
            ("vnc", "os-getVNCConsole", s.VNC),
            ("spice", "os-getSPICEConsole", s.SPICE),
            ("serial", "os-getSerialConsole", s.SERIAL),
        )
    ),
    Operation(
        "remote-consoles.create",
        "POST",
        ONE + "/remote-consoles",
        consoles.create,
        rule="os-remote-consoles",
        role="member",
        since=LAST_OF_ACTIONS + 1,
        body=s.CONSOLE,
        reply=("remote_console",),
    ),
    Operation(
        "migrations.list",
        "GET",
        "/os-migrations",
        migrations.index,
        rule="os-migrations:index",
        role="manager",
        query=s.MIGRATIONS,
        reply=("migrations", "migrations_links"),
    ),
    Operation(
        "server-migrations.list",
        "GET",
        MIGRATIONS,
        migrations.of_server,
        rule="servers:migrations:index",
        role="manager",
        since=23,
        reply=("migrations",),
    ),
    Operation(
        "server-migrations.show",
        "GET",
        MIGRATIONS + "/{id}",
        migrations.show,
        rule="servers:migrations:show",
        role="admin",
        since=23,
        reply=("migration",),
    ),
    Operation(
        "server-migrations.abort",
        "DELETE",
        MIGRATIONS + "/{id}",
        migrations.abort,
        202,
        rule="servers:migrations:delete",
        role="manager",
        since=24,
    ),
    Operation(
        "server-migrations.force-complete",
        "POST",
        MIGRATIONS + "/{id}/action",
        migrations.force_complete,
        202,
        action="force_complete",
        rule="servers:migrations:force_complete",
        role="manager",
        since=22,
        body=s.FORCE_COMPLETE,
    ),
)
