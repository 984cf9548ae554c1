"""What came of a claimed operation is written down: what its reference means, and how it ended.

Each takes many at once, in one transaction; one that fails doesn't fail its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from snapmanage import crash, errors
from snapmanage.core import lifecycle
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.lifecycle import Change
from snapmanage.core.records import Operation, Record, Snapshot, Volume, ids_in
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import records
from snapmanage.store.engine import database
from snapmanage.store.engine.refusals import write_in_parts


@dataclass(frozen=True)
class Resolution:
    """What a snapshot's reference turned out to mean."""

    record: Snapshot
    found: BackendSnapshot
    managed_name: str


@dataclass(frozen=True)
class Outcome:
    """How the driver fared with a claimed operation: what it found at the end, or why it failed."""

    record: Record
    found: BackendSnapshot | BackendVolume | None = None
    error: errors.SnapmanageError | None = None


def resolve(app: Application, resolutions: Sequence[Resolution], storage: str | None = None) -> list[Snapshot]:
    """Write down what references mean before anything is renamed; return the snapshots that may go on.

    One that the database refuses, since its object is another's already or its values can't be kept, has failed.
    `storage` is where the objects are, if that is known: each has one owner there.
    """

    def fail(resolution: Resolution, error: Exception) -> list[Snapshot]:
        settle(app, [_refused(Outcome(resolution.record), error)])
        return []

    parts = write_in_parts(
        resolutions, lambda part: app.run(lambda tx: _resolve(tx, part, storage)), fail, retry_helps=database.away
    )
    return [snapshot for part in parts for snapshot in part]


def _resolve(tx: Transaction, resolutions: Sequence[Resolution], storage: str | None) -> list[Snapshot]:
    lease_end = tx.now + tx.rules.lease
    _refuse_named(tx, resolutions)
    changes = [
        lifecycle.resolve(each.record, each.found, each.managed_name, lease_end, storage) for each in resolutions
    ]
    written = [change.after for change in tx.update(changes)]
    crash.at(Point.RESOLVE_UNCOMMITTED)
    return written


def _refuse_named(tx: Transaction, resolutions: Sequence[Resolution]) -> None:
    """Raise `AlreadyManaged` where an object's name holds the id of another live record: it is that one's."""
    others = {each.record.id: ids_in(each.found.name) - {each.record.id} for each in resolutions}
    live = records.live(tx.conn, set[str]().union(*others.values()))
    for each in resolutions:
        for owner in others[each.record.id] & live:
            raise errors.AlreadyManaged(
                f"{each.found.name!r} holds the id of snapshot {owner}, which is managed; unmanage that one first"
            )


def settle(app: Application, outcomes: Sequence[Outcome]) -> list[Record]:
    """Write down how operations ended, or when they are tried again; return what was written.

    What isn't returned was lost to another worker, whose outcome counts. One that the database
    refuses, since its object is another's already or its values can't be kept, has failed.
    """

    def fail(outcome: Outcome, error: Exception) -> list[Record]:
        return app.run(lambda tx: _settle(tx, [_refused(outcome, error)]))

    parts = write_in_parts(
        outcomes, lambda part: app.run(lambda tx: _settle(tx, part)), fail, retry_helps=database.away
    )
    return [record for part in parts for record in part]


def _settle(tx: Transaction, outcomes: Sequence[Outcome]) -> list[Record]:
    settled: list[Record] = []
    for kind in (Volume, Snapshot):
        changes = [_ending(tx, outcome) for outcome in outcomes if isinstance(outcome.record, kind)]
        settled += [change.after for change in tx.update(changes)]
    crash.at(Point.SETTLE_UNCOMMITTED)
    return settled


def _ending(tx: Transaction, outcome: Outcome) -> Change[Record]:
    match outcome:
        case Outcome(record=record, error=errors.SnapmanageError() as error):
            return lifecycle.fail(record, error, tx.now, tx.rules.retry)
        case Outcome(record=Volume() as volume, found=BackendVolume() as found):
            return lifecycle.register_succeeded(volume, found, tx.now)
        case Outcome(record=Snapshot(operation=Operation.UNMANAGE) as snapshot):
            return lifecycle.unmanage_succeeded(snapshot, tx.now)
        case Outcome(record=Snapshot() as snapshot, found=BackendSnapshot() as found):
            return lifecycle.manage_succeeded(snapshot, found, tx.now)
    raise TypeError(f"{outcome} is no ending")


def _refused(outcome: Outcome, error: Exception) -> Outcome:
    """Return the failure of an operation whose outcome the database refuses."""
    if not isinstance(error, errors.SnapmanageError):
        error = errors.BackendError(f"what the backend told can't be kept: {str(error).partition(chr(10))[0]}")
    return replace(outcome, found=None, error=error)
