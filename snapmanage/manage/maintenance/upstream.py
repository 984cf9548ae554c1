"""Reports to the upstream API: list, retry and delete them, and write them for snapshots that have none."""

from collections.abc import Sequence
from functools import partial

from snapmanage import errors
from snapmanage.core import upstream as rules
from snapmanage.core.records import Snapshot
from snapmanage.core.upstream import Report, RequestKind
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import upstream
from snapmanage.store.engine.database import Database

# Snapshots whose reports one transaction writes.
BATCH = 200


def entries(db: Database) -> list[Report]:
    """Return all reports that the upstream has not taken yet, oldest first."""
    with db.read() as conn:
        return upstream.all_of(conn)


def retry(db: Database, report_ids: Sequence[str]) -> None:
    """Make reports due now; raise `NotFound` if one is unknown, and leave all as they are then."""
    known = {each.id for each in entries(db)}
    for report_id in report_ids:
        if report_id not in known:
            raise _unknown(report_id)
    db.write(lambda conn, now: upstream.retry(conn, now, report_ids))


def retry_quarantined(db: Database) -> int:
    """Make all quarantined reports due now, and return their number."""
    return db.write(lambda conn, now: upstream.retry(conn, now))


def drop(db: Database, report_id: str) -> None:
    """Delete a report; raise `NotFound` if it is unknown."""
    if not db.write(lambda conn, _: upstream.drop(conn, report_id)):
        raise _unknown(report_id)


def report_settled(app: Application) -> int:
    """Write a report for each snapshot that the upstream has requested, and whose manage has ended; return the number.

    The upstream shows most of these outcomes already, and takes no second report of them.
    """
    if not app.rules.report_upstream:
        raise errors.ConfigurationError("[upstream] endpoint is not set, so no report would be sent; set it first")
    total, last = 0, ""
    while batch := app.run(partial(_report_batch, last)):
        total, last = total + len(batch), batch[-1].id
    return total


def unmanaged(db: Database) -> list[Snapshot]:
    """Return the tombstones of the snapshots that the upstream has requested: no report can delete its records."""
    with db.read() as conn:
        return upstream.unmanaged(conn)


def _report_batch(last: str, tx: Transaction) -> list[Snapshot]:
    settled = upstream.settled(tx.conn, last, BATCH)
    tx.report([rules.settled_report(each, RequestKind.MANAGE, tx.now) for each in settled])
    return settled


def _unknown(report_id: str) -> errors.NotFound:
    return errors.NotFound(f"no report {report_id} waits for the upstream; `upstream list` shows all that wait")
