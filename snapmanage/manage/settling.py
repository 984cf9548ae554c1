"""What came of a claimed operation is written down: what its reference means, and how it ended.

Each takes many at once, in one transaction; one that fails doesn't fail its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.core import lifecycle
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.ids import ids_in
from snapmanage.core.lifecycle import Change
from snapmanage.core.outbox import Message
from snapmanage.core.records import Operation, Record, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage import writing
from snapmanage.manage.application import Application, commit
from snapmanage.store import ownership, records
from snapmanage.store.engine import database

REFUSED = (errors.AlreadyManaged, *database.UNKEEPABLE)


@dataclass(frozen=True)
class Resolution:
    """What a snapshot's reference turned out to mean."""

    snapshot: Snapshot
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

    def write(conn: Connection, now: datetime) -> list[Snapshot]:
        lease_end = now + app.rules.lease
        _refuse_named(conn, resolutions)
        changes = [
            lifecycle.resolve(each.snapshot, each.found, each.managed_name, lease_end, storage) for each in resolutions
        ]
        written = [change.after for change in records.update(conn, changes)]
        crash.at(Point.RESOLVE_UNCOMMITTED)
        return written

    try:
        return app.db.write(write)
    except REFUSED as error:
        if database.away(error):
            raise  # that says nothing of what was written: it is written again
        if len(resolutions) > 1:
            return [snapshot for each in resolutions for snapshot in resolve(app, [each], storage)]
        settle(app, [Outcome(resolutions[0].snapshot, error=_refused(error))])
        return []


def _refuse_named(conn: Connection, resolutions: Sequence[Resolution]) -> None:
    """Raise `AlreadyManaged` where an object's name holds the id of another live record: it is that one's."""
    others = {each.snapshot.id: ids_in(each.found.name) - {each.snapshot.id} for each in resolutions}
    live = ownership.live(conn, set[str]().union(*others.values()))
    for each in resolutions:
        for owner in others[each.snapshot.id] & live:
            raise errors.AlreadyManaged(
                f"{each.found.name!r} holds the id of snapshot {owner}, which is managed; unmanage that one first"
            )


def settle(app: Application, outcomes: Sequence[Outcome]) -> list[Record]:
    """Write down how operations ended, or when they are tried again; return what was written.

    What isn't returned was lost to another worker, whose outcome counts. One that the database
    refuses, since its object is another's already or its values can't be kept, has failed.
    """
    try:
        return _settle(app, outcomes)
    except REFUSED as error:
        if database.away(error):
            raise  # that says nothing of what was written: it is written again
        if len(outcomes) > 1:
            return [record for each in outcomes for record in settle(app, [each])]
        return _settle(app, [replace(outcomes[0], found=None, error=_refused(error))])


def _settle(app: Application, outcomes: Sequence[Outcome]) -> list[Record]:
    def write(conn: Connection, now: datetime) -> tuple[list[Record], list[Message]]:
        settled: list[Record] = []
        owed: list[Message] = []
        for kind in (Volume, Snapshot):
            changes = [_ending(app, outcome, now) for outcome in outcomes if isinstance(outcome.record, kind)]
            written, announced = writing.apply(app, conn, changes, now)
            settled += [change.after for change in written]
            owed += announced
        crash.at(Point.SETTLE_UNCOMMITTED)
        return settled, owed

    return commit(app, write)


def _ending(app: Application, outcome: Outcome, now: datetime) -> Change[Record]:
    match outcome:
        case Outcome(record=record, error=errors.SnapmanageError() as error):
            return lifecycle.fail(record, error, now, app.rules.retry)
        case Outcome(record=Volume() as volume, found=BackendVolume() as found):
            return lifecycle.register_succeeded(volume, found, now)
        case Outcome(record=Snapshot(operation=Operation.UNMANAGE) as snapshot):
            return lifecycle.unmanage_succeeded(snapshot, now)
        case Outcome(record=Snapshot() as snapshot, found=BackendSnapshot() as found):
            return lifecycle.manage_succeeded(snapshot, found, now)
    raise TypeError(f"{outcome} is no ending")


def _refused(error: Exception) -> errors.SnapmanageError:
    if isinstance(error, errors.SnapmanageError):
        return error
    return errors.BackendError(f"what the backend told can't be kept: {str(error).partition(chr(10))[0]}")
