"""Claims of workers on due operations: claim, renew, release. Each function claims a batch in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from snapmanage import crash
from snapmanage.core import lifecycle
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import records

NO_POSITIONS: Mapping[str, tuple[int, int]] = MappingProxyType({})


@dataclass(frozen=True)
class Claimed:
    """An operation that a worker holds; `volume` is the volume of a snapshot, whose parent must be checked."""

    record: Record
    volume: Volume | None = None


@dataclass(frozen=True)
class WorkerId:
    """A worker as claims name it, and the server whose operations it carries out."""

    server: str
    name: str


def claim(app: Application, worker: WorkerId, limit: int, projects_first: Sequence[str] = ()) -> list[Claimed]:
    """Claim up to `limit` due operations of a worker's server, of volumes first; announce their starts.

    Operations of `projects_first` are claimed first, an equal share for each project.
    """

    def work(tx: Transaction) -> list[Claimed]:
        claimed: list[Record] = []
        for kind in (Volume, Snapshot):
            due = records.take_due(tx.conn, kind, worker.server, tx.now, limit - len(claimed), projects_first)
            changes = [lifecycle.claim(record, worker.name, tx.now, tx.rules.lease, tx.rules.retry) for record in due]
            written = [change for change in changes if change]
            tx.write_changes(written, locked=True)
            claimed += [change.after for change in written if change.after.status.in_progress]
        if claimed:
            crash.at(Point.CLAIM_UNCOMMITTED)
        return with_volumes(tx, claimed)

    return app.run(work)


def renew(
    app: Application, held: Sequence[Record], positions: Mapping[str, tuple[int, int]] = NO_POSITIONS
) -> list[Record]:
    """Extend the leases of the operations that the driver still works on; return the records that are still held.

    `positions` has the position in a batch, and the batch's size, by the id of a record.
    """

    def work(tx: Transaction) -> list[Record]:
        changes = [lifecycle.renew(each, tx.now, tx.rules.lease, positions.get(each.id)) for each in held]
        return [change.after for change in tx.write_changes(changes)]

    return app.run(work) if held else []


def release(app: Application, held: Sequence[Record]) -> None:
    """Release the claims of operations that a worker can't finish, so that other workers can claim them."""

    def work(tx: Transaction) -> None:
        tx.write_changes([lifecycle.release(record, tx.now) for record in held])
        crash.at(Point.RELEASE_UNCOMMITTED)

    if held:
        app.run(work)


def with_volumes(tx: Transaction, claimed: Sequence[Record]) -> list[Claimed]:
    """Return claimed records with the volumes of snapshots, read in one query."""
    volume_ids = {record.volume_id for record in claimed if isinstance(record, Snapshot)}
    volumes = {volume.id: volume for volume in records.get_many(tx.conn, Volume, volume_ids)} if volume_ids else {}
    return [
        Claimed(record, volumes.get(record.volume_id) if isinstance(record, Snapshot) else None) for record in claimed
    ]
