"""The histories of snapshots: their entries beside the records, the outbox and the purged events."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, or_, select

from snapmanage.core.audit.completeness import History, Step
from snapmanage.core.audit.generations import NONE, Generations
from snapmanage.core.events import OWN_EVENT_TYPES
from snapmanage.core.records import Snapshot
from snapmanage.store import records
from snapmanage.store.audit import log
from snapmanage.store.engine import batches
from snapmanage.store.mapping.tables import audit, audit_snapshots, outbox, snapshots

# One page of histories takes few queries, and one `IN` takes at most so many ids.
SNAPSHOTS_AT_ONCE = 500


def pages(conn: Connection, now: datetime, recent: timedelta) -> Iterator[list[History]]:
    """Yield the histories of all snapshots that have a record, an entry or purged events, in pages.

    A record is recent if it has changed within the time `recent`.
    """
    last = ""
    while ids := _ids_after(conn, last, snapshots.c.id, audit.c.snapshot_id, audit_snapshots.c.id):
        yield _histories(conn, ids, now - recent)
        last = ids[-1]


def generations(conn: Connection, until: int) -> Iterator[tuple[str, Generations]]:
    """Yield the generations of the events of each snapshot up to the entry `until`, by id; purged ones count."""
    last = ""
    while ids := _ids_after(conn, last, audit.c.snapshot_id, audit_snapshots.c.id):
        steps, purged = _steps(conn, ids, until), log.purged(conn, ids)
        for each in ids:
            found = purged.get(each, NONE).with_each(step.generation for step in steps[each] if step.generation)
            if found != NONE:
                yield each, found
        last = ids[-1]


def keep_announced(conn: Connection, generations: Mapping[str, int]) -> None:
    """Keep the announced generations of records, by id, which are about to be deleted.

    The records prove the events; without a record, events count as forged. So the transaction that deletes records
    calls this function first. It waits for a purge of the audit log, which adds rows of the same snapshots. A kept
    generation never falls: a client of the broker may give a volume, which announces nothing, the id of a snapshot.
    """
    log.state(conn, lock=True)
    known, before = set(log.purged(conn, generations)), log.announced_when_purged(conn, generations)
    announced = {each: max(generation, before.get(each, 0)) for each, generation in generations.items()}
    batches.update(conn, audit_snapshots, [(each, {"announced": announced[each]}) for each in sorted(known)])
    new = [
        {"id": each, "purged": "", "announced": generation}
        for each, generation in sorted(generations.items())
        if each not in known
    ]
    if new:
        conn.execute(audit_snapshots.insert(), new)


def _ids_after(conn: Connection, last: str, *columns: Column[str]) -> list[str]:
    """Return the first ids behind `last` in these columns, in their order."""
    found: set[str] = set()
    for column in columns:
        query = select(column).distinct().where(column > last).order_by(column).limit(SNAPSHOTS_AT_ONCE)
        found.update(conn.execute(query).scalars())
    return sorted(found)[:SNAPSHOTS_AT_ONCE]


def _histories(conn: Connection, ids: Sequence[str], since: datetime) -> list[History]:
    steps, waiting = _steps(conn, ids), _waiting(conn, ids)
    known = {record.id: record for record in records.get_many(conn, Snapshot, ids)}
    remembered = {row.id: row for row in conn.execute(select(audit_snapshots).where(audit_snapshots.c.id.in_(ids)))}
    made = []
    for each in ids:
        record, row = known.get(each), remembered.get(each)
        changed_at = (record.updated_at or record.created_at) if record else None
        made.append(
            History(
                each,
                steps[each],
                purged=Generations.parse(row.purged) if row else NONE,
                announced=record.generation if record else row.announced if row else None,
                record=record,
                recent=changed_at is not None and changed_at > since,
                waiting=waiting[each],
            )
        )
    return made


def _steps(conn: Connection, ids: Collection[str], until: int | None = None) -> defaultdict[str, list[Step]]:
    columns = (audit.c.snapshot_id, audit.c.number, audit.c.event_type, audit.c.generation)
    query = select(*columns).where(audit.c.snapshot_id.in_(ids)).order_by(audit.c.snapshot_id, audit.c.generation)
    if until is not None:
        query = query.where(audit.c.number <= until)
    found: defaultdict[str, list[Step]] = defaultdict(list)
    for snapshot_id, number, event_type, generation in conn.execute(query):
        found[snapshot_id].append(Step(number, event_type, generation))
    return found


def _waiting(conn: Connection, ids: Collection[str]) -> defaultdict[str, set[int]]:
    """Return the generations of the events that are not sent yet, by snapshot."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    own = or_(*(outbox.c.name.startswith(prefix) for prefix in OWN_EVENT_TYPES))
    query = select(outbox.c.record_id, outbox.c.body).where(outbox.c.record_id.in_(ids), own)
    for snapshot_id, body in conn.execute(query):
        found[snapshot_id].add(body["generation"])
    return found
