"""One transaction of a use case: changes of records, and the messages that they owe to the bus."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage.core import outbox as messages
from snapmanage.core.lifecycle import Change
from snapmanage.core.outbox import Message
from snapmanage.core.records import Record
from snapmanage.manage.rules import Rules
from snapmanage.store import outbox, records, usermessages

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Transaction:
    """An open transaction, its time, the rules, and the messages that it owes to the bus.

    Relays of other processes leave the messages alone for `outbox_hold`, since this process sends them right after
    the commit.
    """

    conn: Connection
    now: datetime
    rules: Rules
    outbox_hold: timedelta = timedelta(0)
    owed: list[Message] = field(default_factory=list)

    def write_if_unchanged(self, changes: Sequence[Change[R]]) -> list[Change[R]]:
        """Write the changes whose records no other worker has claimed or changed since they were read; return those."""
        written = records.update(self.conn, changes)
        self._announce(written)
        return written

    def write_locked(self, changes: Sequence[Change[R]]) -> None:
        """Write changes of records that this transaction has locked."""
        records.write(self.conn, changes)
        self._announce(changes)

    def post(self, owed: Sequence[Message]) -> None:
        """Put messages into the outbox."""
        outbox.add(self.conn, owed, self.now, self.now + self.outbox_hold)
        self.owed.extend(owed)

    def _announce(self, changes: Sequence[Change[R]]) -> None:
        """Post the events of changes, and write their messages to users."""
        usermessages.add(self.conn, [change.message for change in changes if change.message])
        self.post(
            [
                message
                for change in changes
                if change.event
                for message in messages.notifications(change.event, change.after.requester, self.rules.both_dialects)
            ]
        )
