"""Write the driver's answers for claimed operations: the object of a reference, and the end of an operation.

Each function writes a batch in one transaction; an answer that the database refuses doesn't fail the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from snapmanage import crash, errors
from snapmanage.core import lifecycle
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.records import Record, Snapshot
from snapmanage.core.values.ids import ids_in
from snapmanage.crash import Point
from snapmanage.manage import owners, quotas
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import ownership
from snapmanage.store.engine import failures
from snapmanage.store.engine.refusals import write_in_parts


@dataclass(frozen=True)
class Resolution:
    """The object that the driver found for a snapshot's reference, and the name that it will be given."""

    record: Snapshot
    found: BackendSnapshot
    managed_name: str


@dataclass(frozen=True)
class Outcome:
    """The end of a driver's work on an operation: the object as it is now, or the error."""

    record: Record
    found: BackendSnapshot | BackendVolume | None = None
    error: errors.SnapmanageError | None = None


def resolve(app: Application, resolutions: Sequence[Resolution], storage: str | None = None) -> list[Snapshot]:
    """Write the objects of references before any object is renamed; return the snapshots that were written.

    The driver may continue with those that are still claimed. The operations of the others have failed: the object
    has another owner, exceeds the quota, or has values that the database refuses. `storage` is the id of the objects'
    storage, if the driver knows it; an object has one owner on its storage.
    """

    def fail(resolution: Resolution, error: Exception) -> list[Snapshot]:
        failed = settle(app, [_failed(Outcome(resolution.record), owners.explained(app, error))])
        return [record for record in failed if isinstance(record, Snapshot)]

    parts = write_in_parts(
        resolutions,
        lambda part: quotas.run_queued(app, lambda tx: _resolve(tx, part, storage)),
        fail,
        retry_helps=failures.may_pass,
    )
    return [snapshot for part in parts for snapshot in part]


def _resolve(tx: Transaction, resolutions: Sequence[Resolution], storage: str | None) -> list[Snapshot]:
    # An object whose name holds the id of another live record is owned by that record.
    named = {other: each for each in resolutions for other in ids_in(each.found.name) - {each.record.id}}
    if named and (live := ownership.live(tx.conn, named)):
        owner = min(live)
        raise errors.AlreadyManaged(
            f"{named[owner].found.name!r} holds the id of snapshot {owner}, which is managed; unmanage that one first"
        )
    lease_end = tx.now + tx.rules.lease
    changes = [
        lifecycle.resolve(each.record, each.found, each.managed_name, lease_end, storage) for each in resolutions
    ]
    written = [change.after for change in tx.write_changes(quotas.admit(tx, changes))]
    crash.at(Point.RESOLVE_UNCOMMITTED)
    return written


def settle(app: Application, outcomes: Sequence[Outcome]) -> list[Record]:
    """Write the end of operations, or the time of their next attempt; return the records that were written.

    A record that isn't returned is claimed by another worker, whose outcome counts. An operation fails if its object
    has another owner or if the database refuses the object's values.
    """

    def fail(outcome: Outcome, error: Exception) -> list[Record]:
        explained = owners.explained(app, error)
        return app.run(lambda tx: _settle(tx, [_failed(outcome, explained)]))

    parts = write_in_parts(
        outcomes, lambda part: app.run(lambda tx: _settle(tx, part)), fail, retry_helps=failures.may_pass
    )
    return [record for part in parts for record in part]


def _settle(tx: Transaction, outcomes: Sequence[Outcome]) -> list[Record]:
    changes = [
        lifecycle.fail(each.record, each.error, tx.now, tx.rules.retry)
        if each.error
        else lifecycle.succeed(each.record, each.found, tx.now)
        for each in outcomes
    ]
    written = [change.after for change in tx.write_changes(changes)]
    crash.at(Point.SETTLE_UNCOMMITTED)
    return written


def _failed(outcome: Outcome, error: Exception) -> Outcome:
    """Return the failure of an operation whose outcome the database refuses."""
    if not isinstance(error, errors.SnapmanageError):
        error = errors.BackendError(
            f"the database refuses the values that the backend reported: {str(error).partition(chr(10))[0]}"
        )
    return replace(outcome, found=None, error=error)
