"""The audit log's rows: its entries, its head and its base."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

from sqlalchemy import ColumnElement, Connection, func, select, update

from snapmanage.core.audit.chain import Entry, Head, LogState
from snapmanage.core.audit.generations import Generations
from snapmanage.core.values.sizes import fitting
from snapmanage.store.mapping.tables import audit, audit_head, audit_snapshots

_HEAD_ID = 1
_SIZES = select(audit.c.number, func.length(audit.c.content))
_NEWEST_FIRST = (audit.c.generation.desc(), audit.c.number.desc())
# A reader holds a page in memory: so many entries, and no more bytes of content unless it is one entry. An event of
# 4 MiB has up to 12 MiB of content, in which each character is ASCII.
ENTRIES_AT_ONCE = 50
BYTES_AT_ONCE = 16 * 1024**2


def state(conn: Connection, lock: bool = False) -> LogState | None:
    """Return where the log ends and begins, None if its head was deleted; `lock` makes other writers wait."""
    query = select(audit_head).where(audit_head.c.id == _HEAD_ID)
    row = conn.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return None
    return LogState(Head(row.number, row.digest), Head(row.base_number, row.base_digest), row.log_id or "")


def numbers(conn: Connection, event_ids: Collection[str]) -> dict[str, int]:
    """Return the numbers of the entries of those events that are in the log already, by the event's id."""
    query = select(audit.c.event_id, audit.c.number).where(audit.c.event_id.in_(event_ids))
    return {row.event_id: row.number for row in conn.execute(query)}


def append(conn: Connection, entries: Sequence[Entry]) -> None:
    """Write entries that follow the locked head, and move the head."""
    if not entries:
        return
    conn.execute(audit.insert(), [dict(vars(entry)) for entry in entries])
    end = {"number": entries[-1].number, "digest": entries[-1].digest}
    conn.execute(update(audit_head).where(audit_head.c.id == _HEAD_ID).values(end))


def move_base(conn: Connection, base: Head) -> None:
    """Let the log begin behind the entry `base`, whose row and those before it are deleted."""
    moved = {"base_number": base.number, "base_digest": base.digest}
    conn.execute(update(audit_head).where(audit_head.c.id == _HEAD_ID).values(moved))


def entries(conn: Connection, after: int = 0, until: int | None = None) -> Iterator[Entry]:
    """Yield the entries with numbers above `after`, up to `until`, in their order; the memory is bounded."""
    while page := entries_page(conn, after, until):
        yield from page
        after = page[-1].number


def entries_page(conn: Connection, after: int | None, until: int | None = None) -> list[Entry]:
    """Return the first entries with numbers above `after`, up to `until`; None means the lowest or highest number."""
    wanted = []
    if after is not None:
        wanted.append(audit.c.number > after)
    if until is not None:
        wanted.append(audit.c.number <= until)
    return _first(conn, *wanted)


def numbered(conn: Connection, numbers: Iterable[int]) -> Iterator[Entry]:
    """Yield the entries with these numbers, in their order; the memory is bounded."""
    return in_pages(sorted(numbers), partial(numbered_page, conn))


def in_pages(ordered: Sequence[int], read_page: Callable[[Sequence[int]], Sequence[Entry]]) -> Iterator[Entry]:
    """Yield the entries with these numbers, which `read_page` reads like `numbered_page`."""
    for start in range(0, len(ordered), ENTRIES_AT_ONCE):
        part = ordered[start : start + ENTRIES_AT_ONCE]
        while part and (page := read_page(part)):
            yield from page
            part = [number for number in part if number > page[-1].number]


def numbered_page(conn: Connection, numbers: Sequence[int]) -> list[Entry]:
    """Return the first entries with these numbers, in their order, within the limits of a page."""
    return _first(conn, audit.c.number.in_(numbers))


def _first(conn: Connection, *wanted: ColumnElement[bool]) -> list[Entry]:
    """Return the first entries that match, in their order, within the limits of a page."""
    sizes = _SIZES.where(*wanted).order_by(audit.c.number).limit(ENTRIES_AT_ONCE)
    found = fitting([(number, size) for number, size in conn.execute(sizes)], BYTES_AT_ONCE)
    query = select(audit).where(audit.c.number.in_(found)).order_by(audit.c.number)
    return [Entry(**row._mapping) for row in conn.execute(query)] if found else []


def purged(conn: Connection, snapshot_ids: Collection[str]) -> dict[str, Generations]:
    """Return the generations of the purged events of snapshots."""
    columns = audit_snapshots.c
    rows = conn.execute(select(columns.id, columns.purged).where(columns.id.in_(snapshot_ids)))
    return {row.id: Generations.parse(row.purged) for row in rows}


def announced_when_purged(conn: Connection, record_ids: Collection[str]) -> dict[str, int]:
    """Return the generation that each record had announced at its last purge, where it is known; a volume has 0."""
    columns = audit_snapshots.c
    query = select(columns.id, columns.announced).where(columns.id.in_(record_ids), columns.announced.is_not(None))
    return {row.id: row.announced for row in conn.execute(query)}


def of_snapshot(
    conn: Connection, snapshot_id: str, limit: int | None = None, most_bytes: float = math.inf
) -> list[Entry]:
    """Return a snapshot's entries in the order of their generations, the newest `limit` of them.

    Leave out each entry with more than `most_bytes` of content, and the older ones beyond this number.
    """
    found = conn.execute(_SIZES.where(audit.c.snapshot_id == snapshot_id).order_by(*_NEWEST_FIRST).limit(limit))
    shown = fitting([(number, size) for number, size in found if size <= most_bytes], most_bytes)
    return sorted(numbered(conn, shown), key=lambda entry: (entry.generation, entry.number))


def newest(conn: Connection, limit: int, snapshot_id: str | None = None) -> list[int]:
    """Return the numbers of the last entries, the lowest first."""
    query = select(audit.c.number).order_by(audit.c.number.desc()).limit(limit)
    if snapshot_id is not None:
        query = query.where(audit.c.snapshot_id == snapshot_id)
    return list(conn.execute(query).scalars())[::-1]
