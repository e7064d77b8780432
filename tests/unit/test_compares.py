"""Every transaction of the product is in the reviewed table of compares: a new one is judged before it is used."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from compares import BLIND, PURPOSES, REWRITES, STANDS_ON, unguarded

from control.conductor.sagas.all import SAGAS
from kv.keys import Cell, Family, Global
from kv.txn import Txn
from schemas.quota import QuotaLimits

ROOT = Path(__file__).parents[2]
ROOMS = ("agents", "bus", "control", "kilonova", "kv", "runtime", "schemas")
FREE = {"", "several writes", "map host"}
"""Purposes that are not judged: parts of another transaction, several that are each judged when they come alone, and
one that writes nothing."""
MADE = {
    "f'image-{status}'": ("image-saving", "image-uploading"),
    "f'{kind.noun}-create'": ("project-create", "role-create", "user-create"),
    "f'{kind.noun}-delete'": ("project-delete", "role-delete", "user-delete"),
    "f'{kind.noun}-update'": ("project-update", "role-update", "user-update"),
}
"""how a purpose is put together -> what comes of it; finishes and steps are named by their operation's kind"""


def purposes() -> Iterator[tuple[str, str]]:
    """(purpose, where) of every transaction that is written out in the product."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for call in ast.walk(ast.parse(file.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "Txn" and call.args:
                    purpose, where = call.args[0], f"{file.relative_to(ROOT)}:{call.lineno}"
                    if isinstance(purpose, ast.Constant):
                        yield str(purpose.value), where
                    elif isinstance(purpose, ast.JoinedStr):
                        yield from ((name, where) for name in made(ast.unparse(purpose)))


def made(template: str) -> tuple[str, ...]:
    for word in ("finish", "step"):
        if template == f"f'{{op.kind}} {word}'":
            return tuple(f"{kind} {word}" for kind in SAGAS)
    return MADE[template]


def test_every_purpose_is_judged() -> None:
    """A transaction of a new purpose was held to nothing until somebody thought of the table."""
    found = list(purposes())
    assert len(found) > 80
    assert {(purpose, where) for purpose, where in found if purpose not in PURPOSES | FREE} == set()


def test_a_record_that_is_not_listed_must_be_compared() -> None:
    """What a known transaction newly writes is as a new transaction: compared, or listed with the reason why not."""
    txn = Txn("claim").put(Global.QUOTA_LIMITS("p1"), QuotaLimits())
    assert any("quotas/limits" in missing for missing in unguarded(txn, owners=False))
    txn.revisions[Global.QUOTA_LIMITS("p1").path] = 0
    assert not any("quotas/limits" in missing for missing in unguarded(txn, owners=False))


@pytest.mark.parametrize("table", [BLIND, STANDS_ON, REWRITES])
def test_the_table_names_families_that_exist(table: dict[str, Iterable[str]]) -> None:
    known = {f.template for keys in (Global, Cell) for f in vars(keys).values() if isinstance(f, Family)}
    assert {
        (purpose, family) for purpose, families in table.items() for family in families if family not in known
    } == set()
