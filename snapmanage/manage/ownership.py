"""Give each object one owner on its storage, for all servers that serve the storage.

The unique keys of owned objects contain the id of the storage, if the driver knows it (`Driver.storage_id`). A server
that starts gives new keys to records that have no storage id yet, and to records whose storage has a new id.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from snapmanage.core.backend import Binding
from snapmanage.core.records import Snapshot, changed, identity_key
from snapmanage.store import ownership, records
from snapmanage.store.engine.database import Database

Renew = Callable[[Sequence[Binding]], Mapping[str, str]]


@dataclass(frozen=True)
class Conflict:
    """Two snapshots that own one object through different servers."""

    snapshot_id: str
    owner_id: str


def adopt(db: Database, server: str, storage: str, renew: Renew | None = None) -> list[Conflict]:
    """Write the id of the storage of a server's snapshots, with new keys; return the objects that two snapshots own.

    `renew` returns the new identities of objects whose recorded identities have a form of an earlier release.
    A snapshot keeps its key if its object already has an owner on the storage. Each snapshot is moved once, even if
    another process of the server moves it to another `storage` at the same time.
    """
    with db.read() as conn:
        if not ownership.any_not_on(conn, server, storage):
            return []
    conflicts: list[Conflict] = []
    last = ""
    while True:
        with db.read() as conn:
            batch = ownership.not_on(conn, server, storage, last)
        if not batch:
            return conflicts
        ids, last = [snapshot.id for snapshot in batch], batch[-1].id
        bindings = [snapshot.binding for snapshot in batch if snapshot.binding]
        renewed = renew(bindings) if renew else {}
        conflicts += db.write(partial(_move, ids, storage, renewed))


def _move(
    ids: Sequence[str], storage: str, renewed: Mapping[str, str], conn: Connection, now: datetime
) -> list[Conflict]:
    moved = [_moved(snapshot, storage, renewed) for snapshot in records.lock_many(conn, Snapshot, ids)]
    owners = ownership.owners(conn, [each.identity_key for each in moved if each.identity_key])
    conflicts = list(_conflicts(moved, owners))
    conflicting = {conflict.snapshot_id for conflict in conflicts}
    ownership.place(conn, moved, conflicting)
    return conflicts


def _moved(snapshot: Snapshot, storage: str, renewed: Mapping[str, str]) -> Snapshot:
    identity = renewed.get(snapshot.backend_id or "", snapshot.backend_id)
    moved = changed(snapshot, storage=storage, backend_id=identity)
    return changed(moved, identity_key=identity_key(moved)) if snapshot.identity_key else moved


def _conflicts(moved: Sequence[Snapshot], owners: Mapping[str, str]) -> Iterator[Conflict]:
    taken = dict(owners)
    for snapshot in moved:
        if snapshot.identity_key is None:
            continue
        owner = taken.setdefault(snapshot.identity_key, snapshot.id)
        if owner != snapshot.id:
            yield Conflict(snapshot.id, owner)
