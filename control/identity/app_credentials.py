"""Application credentials in the store: made and removed in one transaction each, names unique for their user."""

from collections.abc import Callable

from control.identity.sizes import require_small
from kv.keys import Global
from kv.store import Store
from kv.txn import MAX_OPERATIONS, Txn
from schemas.errors import CompareFailed, Conflict, Forbidden, NotFound
from schemas.identity import AppCredential, NameIndex
from schemas.quota import Tally


async def create(store: Store, app: AppCredential, most: int = 0) -> int:
    """The revision. `most`: how many the user may have, 0: any number.

    Raises:
        Conflict: The user has another of that name, or others are made at the same time.
        Forbidden: The user has as many as it may.
        NotFound: The user is gone.
    """
    require_small("application credential", app)
    tally = await store.get(Global.APP_CREDENTIAL_TALLIES(app.user))
    count = await store.count(Global.APP_CREDENTIAL_NAMES.under(app.user))
    if 0 < most <= count:
        raise Forbidden(
            f"Unable to create additional application credentials, maximum of {most} already exceeded for user."
        )
    user = await store.get(Global.USERS(app.user))
    if user is None:
        raise NotFound(f"Could not find user: {app.user}.")
    txn = Txn("app-credential-create").unchanged(user).create(Global.APP_CREDENTIALS(app.id), app)
    txn.create(Global.APP_CREDENTIAL_NAMES(app.user, app.name), NameIndex(app.id))
    key = Global.APP_CREDENTIAL_TALLIES(app.user)  # rewritten by each creation, so that no two count the same
    txn.at(key, tally.mod_revision if tally else 0).put(key, Tally(count + 1))
    try:
        return await store.commit(txn)
    except CompareFailed as error:
        if await store.get(Global.APP_CREDENTIAL_NAMES(app.user, app.name)) is None:
            raise Conflict("Other application credentials of the user are made at the same time: try again.") from error
        raise Conflict(
            "Conflict occurred attempting to store application_credential - Duplicate entry found with name "
            f"{app.name}."
        ) from error


async def remove(store: Store, id_: str) -> int:
    """The revision. Raises NotFound."""
    stored = await store.get(Global.APP_CREDENTIALS(id_))
    if stored is None:
        raise unknown(id_)
    txn = Txn("app-credential-delete").delete(stored.key)
    return await store.commit(txn.delete(Global.APP_CREDENTIAL_NAMES(stored.value.user, stored.value.name)))


async def remove_all(store: Store, concerned: Callable[[AppCredential], bool]) -> int:
    """Those that lost what they stood on. The revision of the last removal; 0: there was none."""
    revision, apps = 0, [s for s in await store.range(Global.APP_CREDENTIALS.under()) if concerned(s.value)]
    for i in range(0, len(apps), MAX_OPERATIONS // 2):
        txn = Txn("app-credentials-delete")
        for app in apps[i : i + MAX_OPERATIONS // 2]:
            txn.delete(app.key).delete(Global.APP_CREDENTIAL_NAMES(app.value.user, app.value.name))
        revision = await store.commit(txn)
    return revision


def unknown(id_: str) -> NotFound:
    return NotFound(f"Could not find Application Credential: {id_}.")
