"""Messages not yet carried."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from snapmanage.core.outbox import Kind, Message
from snapmanage.core.stuck import PendingCast
from snapmanage.store.tables import outbox
from snapmanage.store.types import LONG_TEXT

# A message has its body as text already.
_ADD = outbox.insert().values(body=bindparam("body_text", type_=LONG_TEXT))


def add(conn: Connection, messages: Sequence[Message], now: datetime, due_at: datetime) -> None:
    """Put messages in; from `due_at` on any relay may take them."""
    if messages:
        conn.execute(_ADD, [_row(message, now, due_at) for message in messages])


def take(conn: Connection, now: datetime, limit: int) -> list[tuple[Message, int]]:
    """Messages that are due, longest first, each with the times it was taken before; others' are left out."""
    query = select(outbox).where(outbox.c.due_at <= now).order_by(outbox.c.due_at).limit(limit)
    return [(_message(row), row.sends) for row in conn.execute(query.with_for_update(skip_locked=True))]


def postpone(conn: Connection, due: Mapping[str, datetime]) -> None:
    """Put messages off, each until its time, for whoever comes then."""
    alike: defaultdict[datetime, list[str]] = defaultdict(list)
    for key in sorted(due):
        alike[due[key]].append(key)
    for due_at, keys in alike.items():
        statement = update(outbox).where(outbox.c.id.in_(keys))
        conn.execute(statement.values(sends=outbox.c.sends + 1, due_at=due_at))


def bring_forward(conn: Connection, message_ids: Collection[str], due_at: datetime) -> None:
    """Let messages rest until then at most."""
    resting = outbox.c.id.in_(sorted(message_ids)) & (outbox.c.due_at > due_at)
    conn.execute(update(outbox).where(resting).values(due_at=due_at))


def put_back(conn: Connection, message_ids: Collection[str], now: datetime) -> None:
    """Make messages due again, as if they hadn't been taken."""
    if message_ids:
        taken = outbox.c.id.in_(sorted(message_ids))
        conn.execute(update(outbox).where(taken).values(due_at=now, sends=outbox.c.sends - 1))


def forget(conn: Connection, message_ids: Collection[str]) -> None:
    """Drop messages that have arrived."""
    if message_ids:
        conn.execute(delete(outbox).where(outbox.c.id.in_(sorted(message_ids))))


def forget_casts(conn: Connection, record_ids: Collection[str], method: str) -> None:
    """Drop the casts of a method that their server has accepted."""
    found = select(outbox.c.id).where(
        outbox.c.record_id.in_(record_ids), outbox.c.kind == Kind.CAST.value, outbox.c.name == method
    )
    forget(conn, conn.execute(found).scalars().all())


def hurry_casts(conn: Connection, server: str, now: datetime) -> None:
    """Make the casts that wait for a server due: it is back, and they are put off as if they were sent the first time.

    What has just gone out first is left to arrive.
    """
    waiting = (outbox.c.kind == Kind.CAST.value) & (outbox.c.target == server) & (outbox.c.sends > 0)
    conn.execute(update(outbox).where(waiting).values(due_at=now, sends=1))


def waiting(conn: Connection) -> int:
    """How many messages are not carried yet."""
    return int(conn.execute(select(func.count()).select_from(outbox)).scalar_one())


def waiting_casts(conn: Connection) -> dict[str, PendingCast]:
    """The casts that their servers haven't accepted, by the record's id."""
    query = select(outbox.c.record_id, outbox.c.due_at).where(outbox.c.kind == Kind.CAST.value)
    return {row.record_id: PendingCast(row.due_at) for row in conn.execute(query)}


def older_than(conn: Connection, moment: datetime) -> int:
    """How many messages were put in before, and are still there."""
    query = select(func.count()).select_from(outbox).where(outbox.c.created_at < moment)
    return int(conn.execute(query).scalar_one())


def _row(message: Message, now: datetime, due_at: datetime) -> dict[str, Any]:
    return {
        "id": message.id,
        "kind": message.kind.value,
        "record_id": message.record_id,
        "target": message.target,
        "name": message.name,
        "priority": message.priority,
        "body_text": message.body_text,
        "context": dict(message.context),
        "due_at": due_at,
        "sends": 0,
        "created_at": now,
    }


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
