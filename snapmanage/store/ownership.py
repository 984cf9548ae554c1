"""Queries about the records that own the objects of a backend, on one server and on all servers of a storage."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import chain
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, or_, select

from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.lists.manageable import Owned
from snapmanage.core.records import Snapshot, identity_key, on_volume, owner_key, reference_key
from snapmanage.core.reference import Reference, name_text
from snapmanage.core.values.ids import ids_in_any
from snapmanage.store.engine import batches
from snapmanage.store.engine.digests import Search, search
from snapmanage.store.mapping.rows import to_record
from snapmanage.store.mapping.tables import services, snapshots, volumes

# One statement takes at most so many ids of a longer list.
IDS_AT_ONCE = 500
_OWNER_COLUMNS = (snapshots.c.id, snapshots.c.backend_id, snapshots.c.reference)
_OWNERS = select(*_OWNER_COLUMNS)
_VOLUMES = select(volumes.c.id, volumes.c.backend_id, volumes.c.backend_name, volumes.c.reference)


def owned(conn: Connection, server: str, found: Iterable[BackendSnapshot] = (), storage: str | None = None) -> Owned:
    """Return the objects of a server's backend, or of its storage, that belong to snapshots.

    `found` are the objects whose names may hold the id of an owner anywhere in the database.
    """
    on_server = snapshots.c.server == server
    here = snapshots.c.server.in_(_sharing(conn, server, storage))
    by_identity = here & snapshots.c.identity_key.is_not(None)
    every = _owned(conn, by_identity, on_server & snapshots.c.reference_key.is_not(None))
    return replace(every, live=_named(conn, found, set(every.identities.values())))


def owned_among(conn: Connection, server: str, found: Iterable[BackendSnapshot], storage: str | None = None) -> Owned:
    """Like `owned`, restricted to `found`; the cost grows with the page, not with the number of managed snapshots."""
    seen = list(found)
    if not seen:
        return Owned()
    by_identity = Search(snapshots.c.identity_key, {server, storage or server}, [each.identity for each in seen])
    by_reference = Search(snapshots.c.reference_key, [server], _references(conn, server, seen))
    owning, referring = search(conn, _OWNER_COLUMNS, [by_identity, by_reference], owner_key)
    identities = {row.backend_id: row.id for row in owning}
    references = {row.reference: row.id for row in referring}
    return Owned(identities, references, _named(conn, seen, set(identities.values())))


def registered_among(
    conn: Connection, server: str, found: Collection[BackendVolume], storage: str | None = None
) -> Owned:
    """Return those of the backend's volumes that are registered, on the server or on another one of its storage.

    Each server may register a volume; the record of `server` takes precedence.
    """
    references = {reference_key(server, Reference.named(each.name), None) for each in found}
    own = Owned(
        references={row.reference: row.id for row in _with_any(conn, _VOLUMES, volumes.c.reference_key, references)}
    )
    identities: dict[str, str] = {}
    for where in [*sorted(_sharing(conn, server, storage) - {server}), server]:
        identities |= _registered_on(conn, where, found)
    return replace(own, identities=identities)


def _registered_on(conn: Connection, server: str, found: Collection[BackendVolume]) -> dict[str, str]:
    """Return the ids of a server's volumes by identity; a volume of an upstream API is known by its name only."""
    keys = {owner_key(server, each.identity) for each in found}
    named = {each.name: each.identity for each in found}
    upstream = _VOLUMES.where(volumes.c.server == server, volumes.c.backend_id.is_(None))
    by_name = _with_any(conn, upstream.where(volumes.c.deleted_at.is_(None)), volumes.c.backend_name, named)
    by_identity = _with_any(conn, _VOLUMES, volumes.c.identity_key, keys)
    return {named[row.backend_name]: row.id for row in by_name} | {row.backend_id: row.id for row in by_identity}


def live(conn: Connection, snapshot_ids: Collection[str]) -> set[str]:
    """Return those of the ids whose snapshots own an object or a reference."""
    owning = or_(snapshots.c.reference_key.is_not(None), snapshots.c.identity_key.is_not(None))
    query = select(snapshots.c.id).where(owning)
    return {row.id for row in _with_any(conn, query, snapshots.c.id, snapshot_ids)}


def holder(conn: Connection, keys: Collection[str], refused_id: str) -> tuple[str, str, str] | None:
    """Return kind, id and project of another record that has one of the unique keys; None if there is none any more."""
    for table in (snapshots, volumes):
        has_one = or_(table.c.reference_key.in_(keys), table.c.identity_key.in_(keys))
        query = select(table.c.id, table.c.project_id).where(has_one, table.c.id != refused_id)
        row = conn.execute(query.limit(1)).one_or_none()
        if row:
            return table.name.removesuffix("s"), row.id, row.project_id
    return None


def lost(conn: Connection, candidates: Collection[Snapshot]) -> set[str]:
    """Return the ids of those snapshots whose backend object belongs to another snapshot now."""
    keys = {key: each.id for each in candidates if (key := identity_key(each))}
    found = owners(conn, keys) if keys else {}
    return {keys[key] for key, owner in found.items() if owner != keys[key]}


def owners(conn: Connection, identity_keys: Collection[str]) -> dict[str, str]:
    """Return the ids of the snapshots that own objects, by the keys of the objects' identities."""
    query = select(snapshots.c.identity_key, snapshots.c.id)
    return {row.identity_key: row.id for row in _with_any(conn, query, snapshots.c.identity_key, identity_keys)}


def owners_of_references(conn: Connection, reference_keys: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return id and project of the snapshots that own references, by the keys of the references."""
    query = select(snapshots.c.reference_key, snapshots.c.id, snapshots.c.project_id)
    found = _with_any(conn, query, snapshots.c.reference_key, reference_keys)
    return {row.reference_key: (row.id, row.project_id) for row in found}


def live_projects(conn: Connection, snapshot_ids: Collection[str]) -> dict[str, str]:
    """Like `live`, with the project of each snapshot by its id."""
    owning = or_(snapshots.c.reference_key.is_not(None), snapshots.c.identity_key.is_not(None))
    query = select(snapshots.c.id, snapshots.c.project_id).where(owning)
    return {row.id: row.project_id for row in _with_any(conn, query, snapshots.c.id, snapshot_ids)}


def owned_by_volumes(conn: Connection, keys: Collection[str]) -> set[str]:
    """Return those of the keys by which volumes own their references or their objects."""
    found: set[str] = set()
    for column in (volumes.c.reference_key, volumes.c.identity_key):
        found |= {row[0] for row in _with_any(conn, select(column), column, keys)}
    return found


def same_volumes(conn: Connection, volume_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the records of other servers of the storage for each volume, by its id: pairs of server and id."""
    own, sharing = services.alias("own"), services.alias("sharing")
    same_storage = (sharing.c.storage == own.c.storage) & (sharing.c.server != own.c.server)
    query = (
        select(volumes.c.id, volumes.c.backend_id, sharing.c.server)
        .join(own, own.c.server == volumes.c.server)
        .join(sharing, same_storage)
        .where(volumes.c.backend_id.is_not(None))
    )
    found = list(_with_any(conn, query, volumes.c.id, set(volume_ids)))
    keys = {(row.id, row.server): owner_key(row.server, row.backend_id) for row in found}
    query = select(volumes.c.identity_key, volumes.c.server, volumes.c.id)
    others = {row.identity_key: row for row in _with_any(conn, query, volumes.c.identity_key, set(keys.values()))}
    same: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for (volume_id, _), key in keys.items():
        if key in others:
            same[volume_id].append((others[key].server, others[key].id))
    return dict(same)


def owners_elsewhere(conn: Connection, server: str, own: Iterable[Snapshot]) -> dict[str, str]:
    """Return the ids of other servers' snapshots that own objects of a server's snapshots, by the ids of the latter.

    The unique key does not refuse these pairs: one key contains the id of the storage, the other a server's name.
    """
    placed = [each for each in own if each.storage and each.backend_id]
    storages = {each.storage for each in placed}
    serving: dict[str | None, set[str]] = {}
    for row in conn.execute(select(services.c.server, services.c.storage).where(services.c.storage.in_(storages))):
        serving.setdefault(row.storage, set()).add(row.server)
    keys = {
        owner_key(where, each.backend_id or ""): each.id
        for each in placed
        for where in {str(each.storage), *serving.get(each.storage, ())}
    }
    query = select(snapshots.c.identity_key, snapshots.c.id).where(snapshots.c.server != server)
    return {keys[row.identity_key]: row.id for row in _with_any(conn, query, snapshots.c.identity_key, keys)}


def any_not_on(conn: Connection, server: str, storage: str) -> bool:
    """Return whether `not_on` has any snapshots; the query reads the server's records, and not all others as well."""
    return conn.execute(select(snapshots.c.id).where(_not_on(server, storage)).limit(1)).first() is not None


def not_on(conn: Connection, server: str, storage: str, after: str) -> list[Snapshot]:
    """Return a server's next snapshots that were resolved to an object and aren't recorded as being on `storage`.

    They are in the order of their ids, which are greater than `after`.
    """
    query = select(snapshots).where(_not_on(server, storage), snapshots.c.id > after).order_by(snapshots.c.id)
    return [to_record(Snapshot, row) for row in conn.execute(query.limit(IDS_AT_ONCE))]


def _not_on(server: str, storage: str) -> ColumnElement[bool]:
    elsewhere = or_(snapshots.c.storage.is_(None), snapshots.c.storage != storage)
    return (snapshots.c.server == server) & snapshots.c.backend_id.is_not(None) & elsewhere


def place(conn: Connection, placed: Sequence[Snapshot], keeping: Collection[str]) -> None:
    """Write the storage of locked snapshots, and new keys for all but the snapshots with the ids `keeping`."""
    where = [(each.id, {"storage": each.storage, "backend_id": each.backend_id}) for each in placed]
    keys = [(each.id, {"identity_key": each.identity_key}) for each in placed if each.id not in keeping]
    batches.update(conn, snapshots, where)
    batches.update(conn, snapshots, keys)


def _sharing(conn: Connection, server: str, storage: str | None) -> set[str]:
    """Return the names of the servers of a storage; only `server` if the storage is unknown."""
    if storage is None:
        return {server}
    return {server, *conn.execute(select(services.c.server).where(services.c.storage == storage)).scalars()}


def _with_any(conn: Connection, query: Select[Any], column: Column[Any], values: Collection[str]) -> Iterator[Row[Any]]:
    """Yield the rows of a query whose column has one of the values; a statement takes a part of them."""
    for part in batches.filled_parts(sorted(values)):
        yield from conn.execute(query.where(batches.any_of(column, len(part))), batches.numbered(part))


def _named(conn: Connection, found: Iterable[BackendSnapshot], known: Set[str]) -> frozenset[str]:
    """Return the owners whose ids are parts of these objects' names; `known` owners need no query."""
    named = ids_in_any(each.name for each in found)
    return frozenset(named & known | live(conn, named - known))


def _references(conn: Connection, server: str, found: Sequence[BackendSnapshot]) -> list[str]:
    """Return the references to the snapshots by name, each on its volume, as their keys are made of them.

    The volume of a snapshot is found as `core.backend.refuse_foreign` finds it: by identity, or by name.
    """
    identities = {owner_key(server, each.parent_identity) for each in found if each.parent_identity}
    names = {each.parent for each in found if each.parent is not None}
    columns = (volumes.c.id, volumes.c.backend_id, volumes.c.backend_name)
    query = select(*columns).where(volumes.c.server == server, volumes.c.deleted_at.is_(None))
    by_identity = _with_any(conn, query, volumes.c.identity_key, identities)
    by_name = _with_any(conn, query.where(volumes.c.backend_id.is_(None)), volumes.c.backend_name, names)
    known = {row.backend_id or row.backend_name: row.id for row in chain(by_identity, by_name)}
    named = [(each.name, known.get(each.parent_identity) or known.get(each.parent)) for each in found]
    return [on_volume(volume_id, name_text(name)) for name, volume_id in named if volume_id]


def _owned(conn: Connection, by_identity: ColumnElement[bool], by_reference: ColumnElement[bool]) -> Owned:
    identities = {row.backend_id: row.id for row in conn.execute(_OWNERS.where(by_identity))}
    return Owned(identities, {row.reference: row.id for row in conn.execute(_OWNERS.where(by_reference))})
