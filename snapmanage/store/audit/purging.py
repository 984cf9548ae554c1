"""Deletion of old entries of the audit log."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any

from sqlalchemy import Connection, delete, func, select

from snapmanage import errors
from snapmanage.core.audit.chain import Head
from snapmanage.core.audit.generations import NONE
from snapmanage.core.values.sizes import fitting
from snapmanage.store.audit import log
from snapmanage.store.engine import batches
from snapmanage.store.mapping.tables import audit, audit_snapshots, snapshots

# A transaction deletes up to so many entries and bytes: the listener waits for it, and a cluster replicates it whole.
ENTRIES_IN_A_PART = 1000
BYTES_IN_A_PART = 16 * 1024**2


def delete_part(conn: Connection, base: Head, last: int) -> Head | None:
    """Delete the first entries behind the locked base, up to `last`, and move the base; return the new base.

    Return None if there is no such entry. The generations of the deleted events are kept.
    """
    rows = _first_rows(conn, base, last)
    if not rows:
        return None
    if rows[0].number != base.number + 1 or rows[-1].number != base.number + len(rows):
        raise errors.InvalidState(f"rows behind row {base.number} were removed meanwhile; run `audit verify`")
    purged: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row.generation:
            purged[row.snapshot_id].add(row.generation)
    _remember(conn, purged)
    end = Head(rows[-1].number, rows[-1].digest)
    conn.execute(delete(audit).where(audit.c.number > base.number, audit.c.number <= end.number))
    log.move_base(conn, end)
    return end


def _first_rows(conn: Connection, base: Head, last: int) -> list[Any]:
    query = (
        select(
            audit.c.number,
            audit.c.digest,
            audit.c.snapshot_id,
            audit.c.generation,
            func.length(audit.c.content).label("size_bytes"),
        )
        .where(audit.c.number > base.number, audit.c.number <= last)
        .order_by(audit.c.number)
        .limit(ENTRIES_IN_A_PART)
    )
    return fitting([(row, row.size_bytes) for row in conn.execute(query)], BYTES_IN_A_PART)


def _remember(conn: Connection, purged: Mapping[str, Set[int]]) -> None:
    """Add generations to those of the purged events, and keep the generations that the records have announced."""
    ids = sorted(purged)
    known = log.purged(conn, ids)
    texts = {each: str(known.get(each, NONE).with_each(purged[each])) for each in ids}
    announced = _announced(conn, ids)
    new = [{"id": each, "purged": texts[each], "announced": announced.get(each)} for each in ids if each not in known]
    if new:
        conn.execute(audit_snapshots.insert(), new)
    changes: dict[str, dict[str, Any]] = {each: {"purged": texts[each]} for each in ids if each in known}
    for each in changes.keys() & announced.keys():
        changes[each]["announced"] = announced[each]
    batches.update(conn, audit_snapshots, list(changes.items()))


def _announced(conn: Connection, snapshot_ids: Sequence[str]) -> dict[str, int]:
    """Return the last announced generations of the snapshots that have a record."""
    query = select(snapshots.c.id, snapshots.c.generation).where(snapshots.c.id.in_(snapshot_ids))
    return {row.id: row.generation for row in conn.execute(query)}
