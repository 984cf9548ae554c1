"""Writing changes of records down, with the events and messages to users that they owe."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage.core import outbox
from snapmanage.core.lifecycle import Change
from snapmanage.core.outbox import Message
from snapmanage.core.records import Record
from snapmanage.manage.application import Application, post
from snapmanage.store import records, usermessages

R = TypeVar("R", bound=Record)


def apply(
    app: Application, conn: Connection, changes: Sequence[Change[R]], now: datetime
) -> tuple[list[Change[R]], list[Message]]:
    """Write changes that are current yet, with their events and messages to users."""
    written = records.update(conn, changes)
    return written, _announce(app, conn, written, now)


def write(app: Application, conn: Connection, changes: Sequence[Change[R]], now: datetime) -> list[Message]:
    """The same with records that this transaction has locked."""
    records.write(conn, changes)
    return _announce(app, conn, changes, now)


def _announce(app: Application, conn: Connection, written: Sequence[Change[R]], now: datetime) -> list[Message]:
    both = app.rules.both_dialects
    owed = [
        message
        for change in written
        if change.event
        for message in outbox.notifications(change.event, change.after.requester, both)
    ]
    usermessages.add(conn, [change.message for change in written if change.message])
    return post(app, conn, owed, now)
