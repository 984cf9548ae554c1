"""Edit the name, the description and the metadata of a record."""

from typing import TypeVar

from snapmanage import crash, errors
from snapmanage.core import edits
from snapmanage.core.edits import Edit
from snapmanage.core.records import Record, Snapshot
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import records

R = TypeVar("R", bound=Record)


def edit(app: Application, kind: type[R], record_id: str, project_id: str | None, new: Edit) -> R:
    """Write an edit of a record of a project, or with None of any project; return the record.

    The row stays locked from the reading to the commit, so that concurrent edits add up and the limit of pairs holds.
    Raise `SnapshotNotFound`, `VolumeNotFound`, `InvalidRequest`, `NotPermitted` or `NotFound`.
    """

    def work(tx: Transaction) -> R:
        found = [each for each in records.lock_many(tx.conn, kind, [record_id]) if each.id == record_id]
        record = next((each for each in found if each.deleted_at is None), None)
        if record is None or project_id not in (None, record.requester.project_id):
            raise (errors.SnapshotNotFound if kind is Snapshot else errors.VolumeNotFound)(record_id)
        change = edits.apply(record, new, tx.now)
        tx.write_changes([change], locked=True)
        crash.at(Point.REQUEST_UNCOMMITTED)
        return change.after

    return app.run(work)
