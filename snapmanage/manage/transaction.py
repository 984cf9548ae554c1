"""One transaction of a use case: changes of records, and the messages that they owe to the bus."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage.core import upstream as upstream_rules
from snapmanage.core.change import Change
from snapmanage.core.outbox import Message, notifications
from snapmanage.core.records import Record
from snapmanage.core.upstream import Report
from snapmanage.manage.rules import Rules
from snapmanage.store import outbox, records, upstream, usermessages

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

    def write_changes(self, changes: Sequence[Change[R]], locked: bool = False) -> Sequence[Change[R]]:
        """Write changes with their user messages, and post events and reports; return the changes that were written.

        With `locked`, this transaction has locked the records, and every change is written. Otherwise a change is
        written only if no other worker has claimed or changed its record since the record was read.
        """
        written = records.update(self.conn, changes, locked)
        if user_messages := [change.message for change in written if change.message]:
            usermessages.add(self.conn, user_messages)
        self.report([report for change in written if (report := upstream_rules.report_of(change, self.now))])
        self.post(
            [
                notification
                for change in written
                if change.event
                for notification in notifications(change.event, change.after.requester, self.rules.both_dialects)
            ]
        )
        return written

    def post(self, owed: Sequence[Message]) -> None:
        """Put messages into the outbox."""
        outbox.add(self.conn, owed, self.now, self.now + self.outbox_hold)
        self.owed.extend(owed)

    def report(self, owed: Sequence[Report]) -> None:
        """Write reports to the upstream API, if it gets any."""
        if self.rules.report_upstream and owed:
            upstream.add(self.conn, owed)
