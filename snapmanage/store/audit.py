"""The audit log's rows."""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, select, update

from snapmanage.core.audit import START, Entry, Head
from snapmanage.store.mapping.tables import audit, audit_head

_HEAD_ID = 1
_NEWEST_FIRST = (audit.c.generation.desc(), audit.c.number.desc())


def head(conn: Connection, lock: bool = False) -> Head:
    """Return the end of the chain, its start if the row was deleted; `lock` makes other listeners wait for it."""
    query = select(audit_head).where(audit_head.c.id == _HEAD_ID)
    row = conn.execute(query.with_for_update() if lock else query).one_or_none()
    return START if row is None else Head(row.number, row.digest)


def known(conn: Connection, event_ids: Collection[str]) -> set[str]:
    """Return the ids of those events that are in the log already."""
    return set(conn.execute(select(audit.c.event_id).where(audit.c.event_id.in_(event_ids))).scalars())


def append(conn: Connection, entries: Sequence[Entry]) -> None:
    """Write entries that follow the locked head, and move the head."""
    if not entries:
        return
    conn.execute(audit.insert(), [dict(vars(entry)) for entry in entries])
    end = {"number": entries[-1].number, "digest": entries[-1].digest}
    conn.execute(update(audit_head).where(audit_head.c.id == _HEAD_ID).values(end))


def in_order(conn: Connection) -> Iterator[Entry]:
    """Yield every entry in the order of the numbers; a caller may stop early."""
    query = select(audit).order_by(audit.c.number).execution_options(yield_per=1000)
    with conn.execute(query) as rows:
        for row in rows:
            yield Entry(**row._mapping)


def of_snapshot(conn: Connection, snapshot_id: str, limit: int | None = None) -> list[Entry]:
    """Return a snapshot's entries in the order of their generations, the newest `limit` of them."""
    query = select(audit).where(audit.c.snapshot_id == snapshot_id).order_by(*_NEWEST_FIRST).limit(limit)
    return [Entry(**row._mapping) for row in conn.execute(query)][::-1]


def newest(conn: Connection, limit: int, snapshot_id: str | None = None) -> list[Entry]:
    """Return the last entries, oldest of them first."""
    query = select(audit).order_by(audit.c.number.desc()).limit(limit)
    if snapshot_id is not None:
        query = query.where(audit.c.snapshot_id == snapshot_id)
    return [Entry(**row._mapping) for row in conn.execute(query)][::-1]


def steps(conn: Connection) -> list[tuple[str, str, int, int | None]]:
    """Return every entry in the form that `core.audit.gaps` takes."""
    query = select(audit).order_by(audit.c.snapshot_id, audit.c.generation).execution_options(yield_per=1000)
    entries = (Entry(**row._mapping) for row in conn.execute(query))
    return [(e.snapshot_id, e.event_type, e.generation, e.previous_generation) for e in entries]
