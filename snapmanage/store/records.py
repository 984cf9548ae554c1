"""Volumes and snapshots in the database."""

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Table, func, or_, select
from sqlalchemy.exc import IntegrityError

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.ids import ids_in
from snapmanage.core.lifecycle import Change
from snapmanage.core.location import Location
from snapmanage.core.manageable import Owned
from snapmanage.core.paging import ListQuery
from snapmanage.core.quotas import Amount
from snapmanage.core.records import (
    Fence,
    Operation,
    Record,
    Requester,
    Snapshot,
    Status,
    Volume,
    identity_key,
    owner_key,
    reference_key,
)
from snapmanage.core.reference import Reference
from snapmanage.store import batches, paging
from snapmanage.store.tables import services, snapshots, volumes

R = TypeVar("R", bound=Record)
_TABLES: dict[type[Record], Table] = {Volume: volumes, Snapshot: snapshots}
# Of a list of any length, so many go into one statement.
IDS_AT_ONCE = 500
# A deployment has few hosts, and many rows.
_location = lru_cache(256)(Location.parse)
_REQUESTER = ("project_id", "user_id", "request_id", "global_request_id")


def insert(conn: Connection, record: Record) -> None:
    """Write a new record; `AlreadyManaged` when its reference is owned already."""
    try:
        conn.execute(_TABLES[type(record)].insert(), _row(record))
    except IntegrityError as error:
        raise errors.AlreadyManaged(_owned_text(record)) from error


def insert_missing(conn: Connection, records: Sequence[Record]) -> None:
    """Write those whose id is not there yet; none may own a reference."""
    for kind, table in _TABLES.items():
        given = {record.id: record for record in reversed(records) if isinstance(record, kind)}
        there = set(conn.execute(select(table.c.id).where(table.c.id.in_(given))).scalars()) if given else set()
        missing = [_row(record) for record_id, record in given.items() if record_id not in there]
        if missing:
            conn.execute(table.insert(), missing)


def get(conn: Connection, kind: type[R], record_id: str, deleted: bool = False) -> R | None:
    """The record of that id; tombstones only where `deleted` asks for them."""
    found = get_many(conn, kind, [record_id])
    return next((record for record in found if deleted or record.deleted_at is None), None)


def get_many(conn: Connection, kind: type[R], record_ids: Collection[str]) -> list[R]:
    """The records of those ids, tombstones too, in no order."""
    table = _TABLES[kind]
    return [_record(kind, row) for row in conn.execute(select(table).where(table.c.id.in_(record_ids)))]


def lock_many(conn: Connection, kind: type[R], record_ids: Collection[str]) -> list[R]:
    """The same, kept from others until the transaction ends; locked in one order, so that two don't deadlock."""
    table = _TABLES[kind]
    query = select(table).where(table.c.id.in_(record_ids)).order_by(table.c.id).with_for_update()
    return [_record(kind, row) for row in conn.execute(query)]


def take_due(
    conn: Connection, kind: type[R], server: str, now: datetime, limit: int, turns: Sequence[str] = ()
) -> list[R]:
    """Records that a worker of `server` may claim, longest due first, leaving out what others are taking.

    Projects whose turn it is get an equal share before that.
    """
    table = _TABLES[kind]
    due = (table.c.server == server) & (table.c.due_at <= now)
    query = select(table).where(due).order_by(table.c.due_at).with_for_update(skip_locked=True)
    share = max(1, limit // (len(turns) + 1))
    queries = [query.where(table.c.project_id == project).limit(share) for project in turns] + [query.limit(limit)]
    found = {row.id: row for each in queries for row in conn.execute(each)}
    return [_record(kind, row) for row in list(found.values())[:limit]]


def in_progress(conn: Connection, kind: type[R]) -> list[R]:
    """Records of all servers that are under way, oldest first."""
    table = _TABLES[kind]
    under_way = [status.value for status in Status if status.in_progress]
    query = select(table).where(table.c.status.in_(under_way)).order_by(table.c.created_at, table.c.id)
    return [_record(kind, row) for row in conn.execute(query)]


def resolved(conn: Connection, server: str) -> list[Snapshot]:
    """A server's snapshots that were ever resolved to an object, tombstones too."""
    mine = (snapshots.c.server == server) & snapshots.c.backend_id.is_not(None)
    query = select(snapshots).where(mine).order_by(snapshots.c.created_at, snapshots.c.id)
    return [_record(Snapshot, row) for row in conn.execute(query)]


def update(conn: Connection, changes: Sequence[Change[R]]) -> list[Change[R]]:
    """Write changes down, each only if its record's fence is unchanged; return those written.

    `AlreadyManaged` when one of them would own what another record owns: then nothing is written.
    """
    if not changes:
        return []
    table = _TABLES[type(changes[0].before)]
    fences = _lock_fences(conn, table, [change.before.id for change in changes])
    current = [change for change in changes if fences.get(change.before.id) == change.before.fence]
    write(conn, current)
    return current


def write(conn: Connection, changes: Sequence[Change[Record]]) -> None:
    """As `update`, for records that this transaction has read and locked."""
    if not changes:
        return
    table = _TABLES[type(changes[0].before)]
    try:
        batches.update(conn, table, [(change.before.id, _differences(change)) for change in changes])
    except IntegrityError as error:
        raise errors.AlreadyManaged(_owned_text(changes[0].after)) from error


def lost(conn: Connection, snapshots_: Collection[Snapshot]) -> set[str]:
    """The ids of those whose backend object belongs to another snapshot by now."""
    keys = {key: each.id for each in snapshots_ if (key := identity_key(each))}
    query = select(snapshots.c.id, snapshots.c.identity_key).where(snapshots.c.identity_key.in_(keys))
    return (
        {keys[row.identity_key] for row in conn.execute(query) if row.id != keys[row.identity_key]} if keys else set()
    )


def usage(conn: Connection, project_id: str) -> Amount:
    """What a project owns: managed, or under way."""
    owned = or_(snapshots.c.reference_key.is_not(None), snapshots.c.identity_key.is_not(None))
    query = select(func.count(), func.coalesce(func.sum(snapshots.c.size_gb), 0))
    count, gigabytes = conn.execute(query.where(snapshots.c.project_id == project_id, owned)).one()
    return Amount(int(count), int(gigabytes))


def owned(conn: Connection, server: str, found: Iterable[BackendSnapshot] = (), storage: str | None = None) -> Owned:
    """Return which objects of a server's backend, or of its storage, belong to snapshots.

    `found` are the objects whose names may hold the id of an owner anywhere in the database.
    """
    mine = snapshots.c.server == server
    sharing = select(services.c.server).where(services.c.storage == storage)
    here = or_(mine, snapshots.c.server.in_(conn.execute(sharing).scalars().all())) if storage else mine
    all_of = _owned(conn, here & snapshots.c.identity_key.is_not(None), mine & snapshots.c.reference_key.is_not(None))
    return replace(all_of, live=_named(conn, found, set(all_of.identities.values())))


def owned_among(conn: Connection, server: str, found: Iterable[BackendSnapshot], storage: str | None = None) -> Owned:
    """Like `owned`, restricted to `found`; the cost grows with the page, not with the number of managed snapshots."""
    seen = list(found)
    identities = {owner_key(where, each.identity) for each in seen for where in {server, storage or server}}
    references = _reference_keys(conn, server, seen)
    some = _owned(conn, snapshots.c.identity_key.in_(identities), snapshots.c.reference_key.in_(references))
    return replace(some, live=_named(conn, seen, set(some.identities.values())))


def live(conn: Connection, snapshot_ids: Collection[str]) -> set[str]:
    """Return the ids, of these, of snapshots that own an object or a reference."""
    owning = or_(snapshots.c.reference_key.is_not(None), snapshots.c.identity_key.is_not(None))
    ids, query = sorted(snapshot_ids), select(snapshots.c.id).where(owning)
    parts = [ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE)]
    return {found for part in parts for found in conn.execute(query.where(snapshots.c.id.in_(part))).scalars()}


def owner_elsewhere(conn: Connection, snapshot: Snapshot, sharing: Collection[str]) -> str | None:
    """Return the id of the snapshot that has the same reference on the same volume of another server's backend.

    `sharing` are the servers of the same storage; None where nobody has it.
    """
    mine = select(volumes.c.backend_id).where(volumes.c.id == snapshot.volume_id).scalar_subquery()
    same = (volumes.c.server.in_(sharing)) & (volumes.c.backend_id == mine)
    keys = [
        reference_key(row.server, snapshot.reference, row.id)
        for row in conn.execute(select(volumes.c.id, volumes.c.server).where(same))
    ]
    query = select(snapshots.c.id).where(snapshots.c.reference_key.in_(keys))
    return conn.execute(query).scalars().first() if keys else None


def not_on(conn: Connection, server: str, storage: str, after: str) -> list[Snapshot]:
    """Return a server's next snapshots that were resolved to an object and aren't said to be on `storage`.

    They are in the order of their ids, which are greater than `after`.
    """
    elsewhere = or_(snapshots.c.storage.is_(None), snapshots.c.storage != storage)
    mine = (snapshots.c.server == server) & snapshots.c.backend_id.is_not(None) & elsewhere
    query = select(snapshots).where(mine, snapshots.c.id > after).order_by(snapshots.c.id).limit(IDS_AT_ONCE)
    return [_record(Snapshot, row) for row in conn.execute(query)]


def owners(conn: Connection, identity_keys: Collection[str]) -> dict[str, str]:
    """Return the ids of the snapshots that own objects, by the keys of the objects' identities."""
    query = select(snapshots.c.identity_key, snapshots.c.id).where(snapshots.c.identity_key.in_(identity_keys))
    return {row.identity_key: row.id for row in conn.execute(query)}


def owners_elsewhere(conn: Connection, server: str, mine: Iterable[Snapshot]) -> dict[str, str]:
    """Return the ids of other servers' snapshots that own objects of a server's snapshots, by the ids of these.

    Each of two owners has a key of its own: of the storage, or of one of the servers that serve it.
    """
    placed = [each for each in mine if each.storage and each.backend_id]
    storages = {each.storage for each in placed}
    serving: dict[str | None, set[str]] = {}
    for row in conn.execute(select(services.c.server, services.c.storage).where(services.c.storage.in_(storages))):
        serving.setdefault(row.storage, set()).add(row.server)
    keys = {
        owner_key(where, each.backend_id or ""): each.id
        for each in placed
        for where in {str(each.storage), *serving.get(each.storage, ())}
    }
    wanted = sorted(keys)
    query = select(snapshots.c.identity_key, snapshots.c.id).where(snapshots.c.server != server)
    parts = [wanted[start : start + IDS_AT_ONCE] for start in range(0, len(wanted), IDS_AT_ONCE)]
    found = [row for part in parts for row in conn.execute(query.where(snapshots.c.identity_key.in_(part)))]
    return {keys[row.identity_key]: row.id for row in found}


def place(conn: Connection, placed: Sequence[Snapshot], keeping: Collection[str]) -> None:
    """Write down on which storage locked snapshots are, with new keys for all but the ids of `keeping`."""
    where = [(each.id, {"storage": each.storage, "backend_id": each.backend_id}) for each in placed]
    keys = [(each.id, {"identity_key": each.identity_key}) for each in placed if each.id not in keeping]
    batches.update(conn, snapshots, where)
    batches.update(conn, snapshots, keys)


def _named(conn: Connection, found: Iterable[BackendSnapshot], known: Set[str]) -> frozenset[str]:
    """The owners whose ids are a part of these objects' names; `known` are owners, whose rows need no look."""
    ids = set[str]().union(*(ids_in(each.name) for each in found))
    return frozenset(ids & known | live(conn, ids - known))


def _reference_keys(conn: Connection, server: str, found: Sequence[BackendSnapshot]) -> list[str]:
    """The keys of references to the snapshots by name, on their volumes; `core.backend.refuse_foreign` says whose."""
    identities = {owner_key(server, each.parent_identity) for each in found if each.parent_identity}
    by_name = volumes.c.backend_id.is_(None) & volumes.c.backend_name.in_({each.parent for each in found})
    query = select(volumes.c.id, volumes.c.backend_id, volumes.c.backend_name).where(
        volumes.c.server == server, volumes.c.identity_key.in_(identities) | by_name
    )
    known = {row.backend_id or row.backend_name: row.id for row in conn.execute(query)}
    named = [(each.name, known.get(each.parent_identity) or known.get(each.parent)) for each in found]
    return [reference_key(server, Reference.named(name), volume_id) for name, volume_id in named if volume_id]


def _owned(conn: Connection, by_identity: ColumnElement[bool], by_reference: ColumnElement[bool]) -> Owned:
    columns = select(snapshots.c.id, snapshots.c.backend_id, snapshots.c.reference)
    identities = {row.backend_id: row.id for row in conn.execute(columns.where(by_identity))}
    return Owned(identities, {row.reference: row.id for row in conn.execute(columns.where(by_reference))})


def list_page(conn: Connection, kind: type[R], wanted: ListQuery) -> list[R]:
    """The wanted page of records; `InvalidRequest` when the marker is none of them."""
    return [_record(kind, row) for row in paging.rows(conn, _TABLES[kind], wanted)]


def count(conn: Connection, kind: type[Record], wanted: ListQuery) -> int:
    """How many records all pages have together."""
    return paging.count(conn, _TABLES[kind], wanted)


def _lock_fences(conn: Connection, table: Table, record_ids: Collection[str]) -> dict[str, Fence]:
    """Like `lock_many`, but return only the fences, by id: the caller has the records."""
    columns = (table.c.id, table.c.status, table.c.claim_number, table.c.claimed_by)
    query = select(*columns).where(table.c.id.in_(record_ids)).order_by(table.c.id).with_for_update()
    rows = conn.execute(query)
    return {record_id: (Status(status), number, worker) for record_id, status, number, worker in rows}


def _differences(change: Change[Record]) -> dict[str, Any]:
    """The columns whose values a change changes, with the new ones."""
    before = vars(change.before)
    fields = vars(change.after).items()
    changed = [(name, value) for name, value in fields if value is not before[name] and value != before[name]]
    return {column: value for name, value in changed for column, value in _columns(name, value).items()}


def _owned_text(record: Record) -> str:
    return f"the object that {record.reference.text} names on {record.server} is managed or being managed already"


def _row(record: Record) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in vars(record).items():
        columns |= _columns(name, value)
    return columns


def _columns(name: str, value: Any) -> dict[str, Any]:
    """A record's field as columns, by their names."""
    match value:
        case Requester():
            return dict(vars(value))
        case Location():
            return {"host": str(value), "server": value.server}
        case Reference():
            return {name: value.text}
        case Status() | Operation():
            return {name: value.value}
    return {name: value}


def _record(kind: type[R], row: Row[Any]) -> R:
    values = dict(zip(row._fields, row, strict=True))
    del values["server"]
    requester = Requester(**{column: values.pop(column) for column in _REQUESTER})
    location = _location(values.pop("host"))
    return kind(
        **{
            **values,
            "requester": requester,
            "location": location,
            "reference": Reference(values["reference"]),
            "status": Status(values["status"]),
            "operation": Operation(values["operation"]),
        }
    )
