"""Which records each transaction must compare: design's third rule as a table, held by every test that commits.

A transaction compares the records that it writes (REWRITES) but for those in BLIND, with the reason why none is lost,
and those in STANDS_ON, which it does not write. `unguarded` tells what a transaction leaves out.
"""

import os
import re
from collections.abc import Iterator
from string import Formatter
from typing import Any, Final

from kv.keys import Cell, Family, Global
from kv.store import Store
from kv.txn import Txn

NEW: Final = "new with its server, whose mapping or parent is compared and whose id no other process knows"
FOLLOWS: Final = "follows from a record that is compared; nothing else writes it"
HISTORY: Final = "history, written once by the owner of what is compared"
OUTBOX: Final = "one of each attempt, written and removed with the operation, mapping or fence that is compared"
WEIGHS: Final = "only weighs in a choice, or is looked for again when it is left behind"
OWN: Final = "written by the one process whose it is, under its lease or its shard's"
SAID: Final = "the last word counts, whatever was there"
ALONE: Final = "the site stands still while `kilonova etcd restored` works"
GONE: Final = "the host is gone at the top, where mapping and claims are compared"

BLIND: Final[dict[str, dict[str, str]]] = {
    "accept server": {
        "by-time/{time_key}": NEW,
        "operations/{shard}/{uuid}": NEW,
        "projects/{project}/instances/{time_key}": NEW,
        "requests/{uuid}": NEW,
        "specs/{uuid}": NEW,
    },
    "app-credential-delete": {"app-credential-names/{user}/{name}": FOLLOWS, "app-credentials/{id}": SAID},
    "app-credentials-delete": {"app-credential-names/{user}/{name}": FOLLOWS, "app-credentials/{id}": SAID},
    "attend": {"services/{binary}/{pod}": OWN},
    "boot finish": {"actions/{uuid}/{request_id}": HISTORY, "failed-builds/{host}": WEIGHS},
    "bury": {"actions/{uuid}/{request_id}": HISTORY},
    "cancel": {
        "by-time/{time_key}": FOLLOWS,
        "projects/{project}/instances/{time_key}": FOLLOWS,
        "specs/{uuid}": FOLLOWS,
    },
    "clear cell": {"by-host/{host}/{uuid}": FOLLOWS, "outbox/{uuid}/{attempt}": OUTBOX},
    "create group": {"project-groups/{project}/{time_key}": FOLLOWS},
    "delete finish": {
        "user-data/{uuid}": FOLLOWS,
        "actions/{uuid}/{request_id}": HISTORY,
        "by-host/{host}/{uuid}": FOLLOWS,
        "deleted/{day}/{uuid}": HISTORY,
        "deleted-of/{day}/{project}/{uuid}": HISTORY,
        "outbox/{uuid}/{attempt}": OUTBOX,
    },
    "delete flavor": {"flavor-names/{name}": FOLLOWS},
    "delete from cell0": {
        "user-data/{uuid}": FOLLOWS,
        "deleted/{day}/{uuid}": HISTORY,
        "deleted-of/{day}/{project}/{uuid}": HISTORY,
        "outbox/{uuid}/{attempt}": OUTBOX,
    },
    "delete group": {"project-groups/{project}/{time_key}": FOLLOWS},
    "delete provider": {"placement/names/{name}": FOLLOWS},
    "dig up": {"actions/{uuid}/{request_id}": HISTORY},
    "expand": {
        "by-time/{time_key}": NEW,
        "operations/{shard}/{uuid}": NEW,
        "projects/{project}/instances/{time_key}": NEW,
        "requests/{uuid}": NEW,
        "specs/{uuid}": NEW,
    },
    "forget restored server": {
        "by-time/{time_key}": FOLLOWS,
        "projects/{project}/instances/{time_key}": FOLLOWS,
        "specs/{uuid}": FOLLOWS,
        "requests/{uuid}": FOLLOWS,
        "operations/{shard}/{uuid}": ALONE,
        "user-data/{uuid}": FOLLOWS,
        "by-host/{host}/{uuid}": FOLLOWS,
    },
    "forget server": {
        "by-time/{time_key}": FOLLOWS,
        "projects/{project}/instances/{time_key}": FOLLOWS,
        "specs/{uuid}": FOLLOWS,
    },
    "give back": {
        "by-host/{host}/{uuid}": FOLLOWS,
        "failed-builds/{host}": WEIGHS,
        "outbox/{uuid}/{attempt}": OUTBOX,
    },
    "grants-delete": {"assignments/{user}/{project}": SAID},
    "guest changed": {"actions/{uuid}/{request_id}": HISTORY},
    "hand over": {"projects/{project}/instances/{time_key}": FOLLOWS},
    "image-activate": {"waste/{object}": WEIGHS},
    "join": {"members/{pod}": OWN},
    "login-reopened": {"failed-logins/{user}": SAID},
    "map restored server": {
        "by-time/{time_key}": FOLLOWS,
        "projects/{project}/instances/{time_key}": FOLLOWS,
        "requests/{uuid}": FOLLOWS,
        "operations/{shard}/{uuid}": ALONE,
        "specs/{uuid}": FOLLOWS,
    },
    "outbox done": {"outbox/{uuid}/{attempt}": OUTBOX},
    "pause finish": {"actions/{uuid}/{request_id}": HISTORY},
    "place": {"by-host/{host}/{uuid}": FOLLOWS, "user-data/{uuid}": FOLLOWS},
    "project-delete": {"project-names/{name}": FOLLOWS},
    "project-update": {"project-names/{name}": FOLLOWS},
    "reap history": {"actions/{uuid}/{request_id}": HISTORY},
    "reap server": {"deleted/{day}/{uuid}": HISTORY, "deleted-of/{day}/{project}/{uuid}": HISTORY},
    "reboot-hard finish": {"actions/{uuid}/{request_id}": HISTORY},
    "reboot-soft finish": {"actions/{uuid}/{request_id}": HISTORY},
    "record restored server": {"by-host/{host}/{uuid}": FOLLOWS},
    "region": {"regions/{id}": SAID},
    "register host": {"alive/{host}": OWN, "hosts/{host}": OWN},
    "remove host": {"alive/{host}": GONE, "hosts/{host}": GONE, "services/{binary}/{pod}": GONE},
    "rename provider": {"placement/names/{name}": FOLLOWS},
    "reset quotas": {"quotas/limits/{project}": SAID, "quotas/user-limits/{project}/{user}": SAID},
    "reset state": {"actions/{uuid}/{request_id}": HISTORY},
    "resume finish": {"actions/{uuid}/{request_id}": HISTORY},
    "role-delete": {"role-names/{name}": FOLLOWS},
    "role-update": {"role-names/{name}": FOLLOWS},
    "set quotas": {"quotas/limits/{project}": SAID},
    "start finish": {"actions/{uuid}/{request_id}": HISTORY},
    "stop finish": {"actions/{uuid}/{request_id}": HISTORY},
    "suspend finish": {"actions/{uuid}/{request_id}": HISTORY},
    "take back": {"projects/{project}/instances/{time_key}": FOLLOWS},
    "tell release": {"services/{binary}/{pod}": OWN},
    "token-revoke": {"revoked-tokens/{user}/{audit}": SAID},
    "tokens-revoked": {"revoked-tokens/{user}/{audit}": FOLLOWS},
    "unpause finish": {"actions/{uuid}/{request_id}": HISTORY},
    "update server": {"actions/{uuid}/{request_id}": HISTORY},
    "user-delete": {"user-names/{name}": FOLLOWS},
    "want image grant": {"outbox/{uuid}/{attempt}": OUTBOX},
}
"""purpose -> family of keys -> why it need not be compared"""

STANDS_ON: Final[dict[str, tuple[str, ...]]] = {
    "aggregate host": ("hosts/{host}",),
    "app-credential-create": ("users/{id}",),
    "boot finish": ("leases/{shard}",),
    "boot step": ("leases/{shard}",),
    "bury": ("fences/{shard}",),
    "cancel": ("leases/{shard}",),
    "cancel done": ("leases/{shard}",),
    "claim": ("cells/{cell}", "hosts/{host}", "placement/providers/{uuid}"),
    "clear cell": ("fences/{shard}",),
    "cleared": ("leases/{shard}",),
    "copy cancel": ("leases/{shard}",),
    "copy update": ("fences/{shard}",),
    "delete finish": ("leases/{shard}",),
    "delete provider": ("placement/children/{parent}",),
    "delete step": ("leases/{shard}",),
    "dig up": ("fences/{shard}",),
    "drop host line": ("instances/{project}/{time_key}",),
    "drop line": (
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
    ),
    "drop members": (
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
    ),
    "drop operation": ("leases/{shard}",),
    "drop spec": (
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
    ),
    "expand": ("leases/{shard}",),
    "forget server": ("leases/{shard}",),
    "give back": ("leases/{shard}",),
    "give back claim": (
        "instances/{uuid}",
        "leases/{shard}",
    ),
    "guest changed": ("leases/{shard}",),
    "hand over": ("leases/{shard}",),
    "host facts": ("leases/{shard}",),
    "host readiness": ("leases/{shard}",),
    "image cached": ("leases/{shard}",),
    "images cached": ("leases/{shard}",),
    "look into cell": ("fences/{shard}",),
    "mend host line": ("instances/{project}/{time_key}",),
    "mend line": (
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
    ),
    "mend server": ("leases/{shard}", "operations/{shard}/{uuid}"),
    "outbox done": ("fences/{shard}",),
    "pause finish": ("leases/{shard}",),
    "pause step": ("leases/{shard}",),
    "place": ("fences/{shard}",),
    "reap history": ("leases/{shard}",),
    "reap server": ("leases/{shard}",),
    "reboot-hard finish": ("leases/{shard}",),
    "reboot-hard step": ("leases/{shard}",),
    "reboot-soft finish": ("leases/{shard}",),
    "reboot-soft step": ("leases/{shard}",),
    "refused": ("leases/{shard}",),
    "register host": ("leases/{shard}",),
    "renew image grant": ("fences/{shard}",),
    "report host": ("leases/{shard}",),
    "resume finish": ("leases/{shard}",),
    "resume step": ("leases/{shard}",),
    "seal server": ("fences/{shard}",),
    "show error": (
        "leases/{shard}",
        "operations/{shard}/{uuid}",
    ),
    "start finish": ("leases/{shard}",),
    "start step": ("leases/{shard}",),
    "stop finish": ("leases/{shard}",),
    "stop step": ("leases/{shard}",),
    "suspend finish": ("leases/{shard}",),
    "suspend step": ("leases/{shard}",),
    "take back": ("leases/{shard}",),
    "take over": ("leases/{shard}",),
    "unpause finish": ("leases/{shard}",),
    "unpause step": ("leases/{shard}",),
    "want image grant": ("leases/{shard}",),
}
"""purpose -> families that each such transaction compares and does not write"""

STANDS_ON_SOMETIMES: Final = (
    ("release", "placement/providers/{uuid}"),
    ("accept delete", "fences/{shard}"),
    ("allocate", "placement/providers/{uuid}"),
    ("claim", "groups/{uuid}"),
    ("create provider", "leases/{shard}"),
    ("create provider", "placement/providers/{uuid}"),
    ("delete finish", "alive/{host}"),
    ("give back", "alive/{host}"),
    ("guest changed", "operations/{shard}/{uuid}"),
    ("image-activate", "waste/{object}"),
    ("rename provider", "placement/providers/{uuid}"),
    ("set traits", "placement/erasures/{all}"),
)
"""compared by some such transactions: what breaks without them is tested by name"""

REWRITES: Final[dict[str, tuple[str, ...]]] = {
    "accept action": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "accept delete": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "accept server": (
        "groups/{uuid}",
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
        "quotas/usage/{project}",
    ),
    "aggregate host": (
        "aggregates/{id}",
        "counters/{name}",
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "aggregate metadata": (
        "aggregates/{id}",
        "counters/{name}",
    ),
    "allocate": (
        "groups/{uuid}",
        "placement/allocations/{consumer}",
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "app-credential-create": (
        "app-credential-names/{user}/{name}",
        "app-credential-tallies/{user}",
        "app-credentials/{id}",
    ),
    "boot finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "boot step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "bury": ("instances/{project}/{time_key}",),
    "cache images": ("operations/{shard}/{uuid}",),
    "cancel": (
        "groups/{uuid}",
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
        "placement/allocations/{consumer}",
        "placement/usages/{uuid}",
        "quotas/usage/{project}",
        "requests/{uuid}",
    ),
    "cancel build": (
        "operations/{shard}/{uuid}",
        "requests/{uuid}",
    ),
    "cancel done": ("operations/{shard}/{uuid}",),
    "change flavor": ("flavors/{id}",),
    "claim": (
        "groups/{uuid}",
        "operations/{shard}/{uuid}",
        "placement/allocations/{consumer}",
        "placement/usages/{uuid}",
    ),
    "clear cell": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "cleared": ("operations/{shard}/{uuid}",),
    "copy cancel": ("operations/{shard}/{uuid}",),
    "copy update": ("instances/{project}/{time_key}",),
    "create aggregate": (
        "aggregates/{id}",
        "counters/{name}",
    ),
    "create flavor": (
        "flavor-names/{name}",
        "flavors/{id}",
    ),
    "create group": (
        "groups/{uuid}",
        "quotas/usage/{project}",
    ),
    "create key pair": (
        "keypair-tallies/{user}",
        "keypairs/{user}/{name}",
    ),
    "create name": (
        "placement/classes/{name}",
        "placement/traits/{name}",
    ),
    "create provider": (
        "hosts/{host}",
        "placement/children/{parent}",
        "placement/names/{name}",
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "delete aggregate": (
        "aggregates/{id}",
        "counters/{name}",
    ),
    "delete finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "delete flavor": ("flavors/{id}",),
    "delete from cell0": ("instances/{project}/{time_key}",),
    "delete group": (
        "groups/{uuid}",
        "quotas/usage/{project}",
    ),
    "delete key pair": (
        "keypair-tallies/{user}",
        "keypairs/{user}/{name}",
    ),
    "delete provider": (
        "hosts/{host}",
        "placement/children/{parent}",
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "delete step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "dig up": ("instances/{project}/{time_key}",),
    "drop fence": ("fences/{shard}",),
    "drop host line": ("by-host/{host}/{uuid}",),
    "drop line": (
        "by-time/{time_key}",
        "projects/{project}/instances/{time_key}",
    ),
    "drop members": ("groups/{uuid}",),
    "drop operation": ("operations/{shard}/{uuid}",),
    "drop spec": ("specs/{uuid}",),
    "erase name": (
        "placement/classes/{name}",
        "placement/erasures/{all}",
        "placement/traits/{name}",
    ),
    "expand": (
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
    ),
    "forget restored server": (
        "instances/{project}/{time_key}",
        "instances/{uuid}",
    ),
    "forget server": (
        "groups/{uuid}",
        "instances/{uuid}",
        "placement/allocations/{consumer}",
        "placement/usages/{uuid}",
        "quotas/usage/{project}",
    ),
    "give back": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "give back claim": (
        "groups/{uuid}",
        "operations/{shard}/{uuid}",
        "placement/allocations/{consumer}",
        "placement/usages/{uuid}",
    ),
    "give shard": ("leases/{shard}",),
    "grant": ("assignments/{user}/{project}",),
    "guest changed": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "hand over": (
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
        "requests/{uuid}",
    ),
    "host facts": ("hosts/{host}",),
    "host readiness": ("alive/{host}",),
    "image cached": ("operations/{shard}/{uuid}",),
    "image-activate": (
        "blobs/{digest}",
        "image-usage/{project}",
        "images/{id}",
        "waste/{object}",
    ),
    "image-create": (
        "image-ids/{id}",
        "image-usage/{project}",
        "images/{id}",
    ),
    "image-delete": (
        "blobs/{digest}",
        "image-usage/{project}",
        "images/{id}",
        "waste/{object}",
    ),
    "image-importing": (
        "images/{id}",
        "waste/{object}",
    ),
    "image-requeue": ("images/{id}",),
    "image-saving": (
        "images/{id}",
        "waste/{object}",
    ),
    "image-staged": (
        "images/{id}",
        "waste/{object}",
    ),
    "image-update": (
        "image-usage/{project}",
        "images/{id}",
    ),
    "image-upload-ended": ("waste/{object}",),
    "image-uploading": (
        "images/{id}",
        "waste/{object}",
    ),
    "images cached": ("operations/{shard}/{uuid}",),
    "login-failed": ("failed-logins/{user}",),
    "map cell": ("cells/{cell}",),
    "map restored server": ("instances/{uuid}",),
    "mark name": ("placement/erasures/{all}",),
    "mend charge": ("quotas/usage/{project}",),
    "mend host line": ("by-host/{host}/{uuid}",),
    "mend line": (
        "by-time/{time_key}",
        "projects/{project}/instances/{time_key}",
    ),
    "mend server": ("instances/{project}/{time_key}",),
    "pause finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "pause step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "place": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "project-create": (
        "identity-projects/{id}",
        "project-names/{name}",
    ),
    "project-delete": ("identity-projects/{id}",),
    "project-update": (
        "identity-projects/{id}",
        "project-names/{name}",
    ),
    "raise fence": ("fences/{shard}",),
    "raise generation": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "reboot-hard finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "reboot-hard step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "reboot-soft finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "reboot-soft step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "record restored server": ("instances/{project}/{time_key}",),
    "refence": ("leases/{shard}",),
    "refused": ("operations/{shard}/{uuid}",),
    "register host": ("services/{binary}/{pod}",),
    "release": (
        "groups/{uuid}",
        "placement/allocations/{consumer}",
        "placement/usages/{uuid}",
    ),
    "remove host": ("hosts/{host}",),
    "rename class": (
        "placement/allocations/{consumer}",
        "placement/classes/{name}",
        "placement/erasures/{all}",
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "rename provider": (
        "placement/children/{parent}",
        "placement/names/{name}",
        "placement/providers/{uuid}",
    ),
    "renew image grant": (
        "operations/{shard}/{uuid}",
        "outbox/{uuid}/{attempt}",
    ),
    "report host": (
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "reset state": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "resume finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "resume step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "role-create": (
        "role-names/{name}",
        "roles/{id}",
    ),
    "role-delete": ("roles/{id}",),
    "role-update": (
        "role-names/{name}",
        "roles/{id}",
    ),
    "seal server": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "set aggregates": (
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "set host": ("hosts/{host}",),
    "set quotas": (
        "quotas/classes/{name}",
        "quotas/limits/{project}",
        "quotas/user-limits/{project}/{user}",
    ),
    "set traits": (
        "placement/erasures/{all}",
        "placement/providers/{uuid}",
        "placement/usages/{uuid}",
    ),
    "settle": ("instances/{project}/{time_key}",),
    "show error": ("requests/{uuid}",),
    "signing-key": ("keys/{id}",),
    "start finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "start step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "stop finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "stop step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "suspend finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "suspend step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "take back": (
        "groups/{uuid}",
        "instances/{uuid}",
        "operations/{shard}/{uuid}",
        "placement/allocations/{consumer}",
        "placement/usages/{uuid}",
        "requests/{uuid}",
    ),
    "take over": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "take shard": ("leases/{shard}",),
    "unmark name": ("placement/erasures/{all}",),
    "unpause finish": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "unpause step": (
        "instances/{project}/{time_key}",
        "operations/{shard}/{uuid}",
    ),
    "update aggregate": (
        "aggregates/{id}",
        "counters/{name}",
    ),
    "update request": ("requests/{uuid}",),
    "update server": ("instances/{project}/{time_key}",),
    "user-create": (
        "user-names/{name}",
        "users/{id}",
    ),
    "user-delete": ("users/{id}",),
    "user-update": ("users/{id}",),
    "want image grant": ("operations/{shard}/{uuid}",),
    "waste-condemn": ("waste/{object}",),
    "waste-remove": ("waste/{object}",),
}
"""purpose -> families that such transactions compare and write: what `just mutate` removes one at a time"""


def unguarded(txn: Txn, *, owners: bool = True) -> list[str]:
    """What a transaction of the product should compare and does not; other purposes, such as a test's, are free.
    Without `owners` the fences of shards are left out: parts that a test runs alone have none."""
    if txn.purpose not in PURPOSES:
        return []
    blind = BLIND.get(txn.purpose, {})
    found = [
        f"{txn.purpose!r} writes a record of {family} that it does not compare"
        for path in txn.writes
        if path not in txn.revisions and (family := family_of(path)) not in blind
    ]
    if wanted := STANDS_ON.get(txn.purpose):
        free = set() if owners else {"leases/{shard}", "fences/{shard}"}
        compared = {family_of(path) for path in txn.revisions}
        found += [f"{txn.purpose!r} does not compare {family}" for family in wanted if family not in compared | free]
    return found


def remove(txn: Txn, family: str) -> None:
    """Takes the compares of a family out of a transaction."""
    for path in [path for path in txn.revisions if family_of(path) == family]:
        del txn.revisions[path]


def noticed(txn: Txn, *, owners: bool = True) -> set[str]:
    """The families whose compare could not be taken out of this transaction without `unguarded` telling of it."""
    found = set()
    for family in {family_of(path) for path in txn.revisions}:
        without = Txn(txn.purpose, dict(txn.revisions), txn.writes)
        remove(without, family)
        if len(unguarded(without, owners=owners)) > len(unguarded(txn, owners=owners)):
            found.add(family)
    return found


def _note(file: str, purpose: str, family: str) -> None:
    with open(file, "a", encoding="utf-8") as notes:
        notes.write(f"{purpose}\t{family}\t{os.environ.get('PYTEST_CURRENT_TEST', '').split(' ')[0]}\n")


def hold_to_compares() -> None:
    """From now on every commit of this process raises AssertionError when it leaves a compare out. For `just mutate`
    the environment names a purpose and a family whose compare is removed, or a file for what would be noticed."""
    commit: Any = Store.commit
    purpose, _, removed = os.environ.get(REMOVED, "").partition(":")
    seen_in = os.environ.get(NOTICED, "")
    noted: dict[str, set[str]] = {}

    async def checked(self: Store, txn: Txn) -> int:
        if removed and txn.purpose == purpose:
            remove(txn, removed)
        if seen_in:
            for family in sorted(noticed(txn, owners=False) - noted.get(txn.purpose, set())):
                noted.setdefault(txn.purpose, set()).add(family)
                _note(seen_in, txn.purpose, family)
        missing = unguarded(txn, owners=False)
        assert not missing, missing
        revision: int = await commit(self, txn)
        return revision

    Store.commit = checked  # type: ignore[method-assign]  # the tests stand between the product and its store


def family_of(path: str) -> str:
    """The template in kv.keys of a path, such as `operations/{shard}/{uuid}`."""
    known = _known.get(path)
    if known is None:
        if len(_known) > 100_000:
            _known.clear()
        known = _known[path] = next((f for f, pattern in _PATTERNS.items() if pattern.fullmatch(path)), path)
    return known


def _templates() -> Iterator[str]:
    for table in (Global, Cell):
        for family in vars(table).values():
            if isinstance(family, Family):
                yield family.template


def _pattern(template: str) -> re.Pattern[str]:
    parts = ((literal, name) for literal, name, _, _ in Formatter().parse(template))
    return re.compile("".join(re.escape(literal) + ("[^/]*" if name else "") for literal, name in parts))


_PATTERNS: Final = {template: _pattern(template) for template in _templates()}
_known: Final[dict[str, str]] = {}
REMOVED: Final = "TESTS_WITHOUT_COMPARE"
NOTICED: Final = "TESTS_NOTICED_COMPARES"
PURPOSES: Final = frozenset(BLIND) | frozenset(STANDS_ON) | frozenset(REWRITES)
