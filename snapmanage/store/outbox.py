"""Messages that are not sent yet."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from snapmanage.core.outbox import Kind, Message
from snapmanage.store.engine import batches
from snapmanage.store.mapping.tables import outbox


def add(conn: Connection, messages: Sequence[Message], now: datetime, due_at: datetime) -> None:
    """Write messages; from `due_at` on, each relay may take them."""
    rows = [
        {
            "id": message.id,
            "kind": message.kind.value,
            "record_id": message.record_id,
            "target": message.target,
            "name": message.name,
            "priority": message.priority,
            "body": message.body,
            "context": dict(message.context),
        }
        for message in messages
    ]
    batches.insert(conn, outbox, rows, {"due_at": due_at, "sends": 0, "created_at": now})


def take(conn: Connection, now: datetime, limit: int) -> list[tuple[Message, int]]:
    """Lock and return messages that are due, longest first, each with the number of its earlier sendings.

    Rows that other relays have locked are skipped.
    """
    query = select(outbox).where(outbox.c.due_at <= now).order_by(outbox.c.due_at).limit(limit)
    return [(_message(row), row.sends) for row in conn.execute(query.with_for_update(skip_locked=True))]


def postpone(conn: Connection, due: Mapping[str, datetime]) -> None:
    """Count a sending of each message, and postpone the next one until its time."""
    alike: defaultdict[datetime, list[str]] = defaultdict(list)
    for key in sorted(due):
        alike[due[key]].append(key)
    for due_at, keys in alike.items():
        statement = update(outbox).where(outbox.c.id.in_(keys))
        conn.execute(statement.values(sends=outbox.c.sends + 1, due_at=due_at))


def bring_forward(conn: Connection, message_ids: Collection[str], due_at: datetime) -> None:
    """Make messages due at `due_at`, unless they are due earlier."""
    later = outbox.c.id.in_(sorted(message_ids)) & (outbox.c.due_at > due_at)
    conn.execute(update(outbox).where(later).values(due_at=due_at))


def put_back(conn: Connection, message_ids: Collection[str], now: datetime) -> None:
    """Make messages due again, and don't count their last sending."""
    if message_ids:
        taken = outbox.c.id.in_(sorted(message_ids))
        conn.execute(update(outbox).where(taken).values(due_at=now, sends=outbox.c.sends - 1))


def forget(conn: Connection, message_ids: Collection[str]) -> None:
    """Delete messages that have arrived."""
    if message_ids:
        conn.execute(delete(outbox).where(outbox.c.id.in_(sorted(message_ids))))


def forget_casts(conn: Connection, record_ids: Collection[str], method: str) -> None:
    """Delete the casts of a method that their server has accepted."""
    found = select(outbox.c.id).where(
        outbox.c.record_id.in_(record_ids), outbox.c.kind == Kind.CAST.value, outbox.c.name == method
    )
    forget(conn, conn.execute(found).scalars().all())


def hurry_casts(conn: Connection, servers: Collection[str], now: datetime) -> None:
    """Make the casts of servers that have started due, and count their sendings from the first again.

    A cast that was never sent stays as it is: its process is sending it. The statement reads the whole outbox.
    """
    waiting = (outbox.c.kind == Kind.CAST.value) & outbox.c.target.in_(sorted(servers)) & (outbox.c.sends > 0)
    conn.execute(update(outbox).where(waiting).values(due_at=now, sends=1))


def waiting(conn: Connection) -> int:
    """Return the number of messages that are not sent yet."""
    return int(conn.execute(select(func.count()).select_from(outbox)).scalar_one())


def casts_due_at(conn: Connection, record_ids: Collection[str]) -> dict[str, datetime]:
    """Return the next times at which records' casts are sent that no server has accepted, by the record's id."""
    found: dict[str, datetime] = {}
    query = select(outbox.c.record_id, outbox.c.due_at).where(outbox.c.kind == Kind.CAST.value)
    for part in batches.filled_parts(sorted(record_ids)):
        named = query.where(batches.any_of(outbox.c.record_id, len(part)))
        found |= {row.record_id: row.due_at for row in conn.execute(named, batches.numbered(part))}
    return found


def older_than(conn: Connection, moment: datetime) -> int:
    """Return the number of messages that were written before `moment` and are not delivered yet."""
    query = select(func.count()).select_from(outbox).where(outbox.c.created_at < moment)
    return int(conn.execute(query).scalar_one())


def _message(row: Row[Any]) -> Message:
    return Message(
        id=row.id,
        kind=Kind(row.kind),
        record_id=row.record_id,
        target=row.target,
        name=row.name,
        body=row.body,
        priority=row.priority,
        context=row.context,
    )
