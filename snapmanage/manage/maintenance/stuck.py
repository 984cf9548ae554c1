"""Stuck operations and undelivered messages, for `snapmanage-manage stuck`."""

from collections.abc import Sequence
from datetime import timedelta

from snapmanage.core.maintenance import stuck
from snapmanage.core.maintenance.stuck import StuckOperation
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.manage.application import Application
from snapmanage.store import outbox, records, services


def find(app: Application, older_than: timedelta) -> tuple[Sequence[StuckOperation], int]:
    """Return the operations that last longer than `older_than`, and how many messages are in the outbox that long."""
    with app.db.read() as conn:
        now = app.db.clock(conn)
        servers = {service.server: service for service in services.all_of(conn)}
        in_progress: list[Record] = [*records.in_progress(conn, Volume), *records.in_progress(conn, Snapshot)]
        casts_due_at = outbox.casts_due_at(conn)
        undelivered = outbox.older_than(conn, now - older_than)
    down_after = app.rules.service_down
    explained = [
        stuck.explain(each, now, older_than, casts_due_at.get(each.id), servers.get(each.location.server), down_after)
        for each in in_progress
    ]
    return [operation for operation in explained if operation], undelivered
