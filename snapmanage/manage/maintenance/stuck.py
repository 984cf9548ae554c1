"""Stuck operations, undelivered messages and unreported outcomes, for `snapmanage-manage stuck`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from snapmanage.core.maintenance import stuck
from snapmanage.core.maintenance.hosts import UnservedHost
from snapmanage.core.maintenance.stuck import StuckOperation
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.upstream import Report
from snapmanage.manage.application import Application
from snapmanage.manage.maintenance import hosts
from snapmanage.store import outbox, records, services, upstream


@dataclass(frozen=True)
class Found:
    """The operations that last too long, the number of undelivered messages, and the reports not taken upstream.

    `unserved` are the hosts whose records can't be worked on.
    """

    operations: Sequence[StuckOperation]
    undelivered: int
    unreported: Sequence[Report]
    unserved: Sequence[UnservedHost] = ()


def find(app: Application, older_than: timedelta) -> Found:
    """Return the operations, the messages in the outbox and the reports that are older than `older_than`."""
    with app.db.read() as conn:
        now = app.db.clock(conn)
        servers = {service.server: service for service in services.all_of(conn)}
        in_progress: list[Record] = [*records.in_progress(conn, Volume), *records.in_progress(conn, Snapshot)]
        casts_due_at = outbox.casts_due_at(conn, {record.id for record in in_progress if record.due_at is None})
        undelivered = outbox.older_than(conn, now - older_than)
        unreported = upstream.all_of(conn, now - older_than)
    down_after = app.rules.service_down
    explained = [
        stuck.explain(each, now, older_than, casts_due_at.get(each.id), servers.get(each.location.server), down_after)
        for each in in_progress
    ]
    found = [operation for operation in explained if operation]
    return Found(found, undelivered, unreported, hosts.unserved(app))
