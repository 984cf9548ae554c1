"""One owner for each object, whichever server reaches it: what a server that comes up writes down of its storage.

The keys of owned objects are made of the storage, where a driver can say which that is
(`Driver.storage_id`). Records from before, and those of a storage that has another id by now, get new keys.
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
    """Two snapshots that own one object, each through a server of its own."""

    snapshot_id: str
    owner_id: str


def adopt(db: Database, server: str, storage: str, renew: Renew | None = None) -> list[Conflict]:
    """Write down that the objects of a server's snapshots are on `storage`; return the objects that two snapshots own.

    `renew` returns the present identity of each object whose recorded one has a form that its driver doesn't write
    any more. A snapshot whose object has an owner on the storage already keeps the key that it has. Each snapshot is
    moved once, even if another process of the server has another `storage` in mind and moves it again.
    """
    conflicts: list[Conflict] = []
    last = ""
    while batch := _next_batch(db, server, storage, last):
        last = batch[-1].id
        bindings = [snapshot.binding for snapshot in batch if snapshot.binding]
        renewed = renew(bindings) if renew else {}
        conflicts += db.write(partial(_move, [snapshot.id for snapshot in batch], storage, renewed))
    return conflicts


def _next_batch(db: Database, server: str, storage: str, after: str) -> Sequence[Snapshot]:
    with db.read() as conn:
        return ownership.not_on(conn, server, storage, after)


def _move(
    ids: Sequence[str], storage: str, renewed: Mapping[str, str], conn: Connection, now: datetime
) -> list[Conflict]:
    moved = [_moved(snapshot, storage, renewed) for snapshot in records.lock_many(conn, Snapshot, ids)]
    owners = ownership.owners(conn, [each.identity_key for each in moved if each.identity_key])
    conflicts = list(_conflicts(moved, owners))
    kept = {conflict.snapshot_id for conflict in conflicts}
    ownership.place(conn, moved, kept)
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
