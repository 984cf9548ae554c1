"""The quotas of projects: requests of clients are checked, and snapshots again when their real size is known."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from snapmanage import crash
from snapmanage.core import lifecycle
from snapmanage.core import quotas as rules
from snapmanage.core.change import Change
from snapmanage.core.quotas import UNLIMITED, Limits, ProjectQuota, Usage
from snapmanage.core.records import Snapshot
from snapmanage.crash import Point
from snapmanage.errors import QuotaExceeded
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import quotas, records
from snapmanage.store.engine.database import Database
from snapmanage.store.records import VolumeForRequest

T = TypeVar("T")


def of_project(db: Database, project_id: str) -> tuple[ProjectQuota, Usage]:
    """Return the limits that a project has of its own, and its usage."""
    with db.read(at_one_moment=True) as conn:
        return quotas.get(conn, project_id), quotas.usage(conn, project_id)


def change(db: Database, project_id: str, limits: Mapping[str, int | None]) -> None:
    """Write limits of a project, by kind, which take effect at once; its other limits stay. None is the default."""
    db.write(lambda conn, _: quotas.change(conn, project_id, limits))


def run_queued(app: Application, work: Callable[[Transaction], T], lock_seconds: int | None = None) -> T:
    """Run `work` like `Application.run`; if projects have no rows to wait for yet, make the rows, then run it again."""
    try:
        return app.run(work, lock_seconds)
    except quotas.NoQueue as missing:
        for project_id in sorted(missing.project_ids):
            app.run(partial(_open_queue, project_id))
        crash.at(Point.QUOTA_QUEUE_OPENED)
        return app.run(work, lock_seconds)


@dataclass(frozen=True)
class Room:
    """The limits of a project and its usage, to which each accepted request adds."""

    limits: Limits
    used: Usage

    def after(self, snapshot: Snapshot) -> "Room":
        """Return the room after a request; raise `QuotaExceeded` unless it fits.

        The size of the volume stands for that of the snapshot.
        """
        rules.check(self.used, self.limits, rules.ONE_FAILED_RECORD)
        if not self.limits.limit_snapshots:
            return self
        more = Usage(snapshots=1, gigabytes=snapshot.size_gb or 0)
        rules.check(self.used, self.limits, more)
        return replace(self, used=self.used.plus(more))


def room_for_snapshots(tx: Transaction, project_id: str, volume: VolumeForRequest) -> Room:
    """Return the room of a project for new snapshots; `volume` has been read for the project.

    Requests of a project with limited snapshots wait for each other. Failed records are counted without waiting, since
    requests under way may fail too.
    """
    limits, used = volume.quota.over(tx.rules.quota), Usage(failed_records=volume.failed_records)
    if not limits.limit_snapshots or not rules.fits(used, limits, rules.ONE_FAILED_RECORD):
        return Room(limits, used)
    # An earlier request in the queue may have changed the limit.
    limits = _queue(tx, [project_id], require_rows=True)[project_id]
    return Room(limits, used.plus(quotas.usage_of_snapshots(tx.conn, [project_id])[project_id]))


def check_retried_snapshot(tx: Transaction, snapshot: Snapshot) -> None:
    """Raise `QuotaExceeded` unless a snapshot in `error`, one of the failed records already, may own an object."""
    project_id = snapshot.requester.project_id
    _check_owned(tx, project_id, quotas.get(tx.conn, project_id).over(tx.rules.quota), snapshot.size_gb)


def check_volume(tx: Transaction, project_id: str) -> None:
    """Raise `QuotaExceeded` unless the project may register one more volume."""
    limits = quotas.get(tx.conn, project_id).over(tx.rules.quota)
    if limits.failed_records != UNLIMITED:
        rules.check(quotas.usage_of_failed_records(tx.conn, project_id), limits, rules.ONE_FAILED_RECORD)
    _check_volumes(tx, project_id, limits)


def check_retried_volume(tx: Transaction, project_id: str) -> None:
    """Like `check_volume`, for a volume in `error`, which is one of the failed records already."""
    _check_volumes(tx, project_id, quotas.get(tx.conn, project_id).over(tx.rules.quota))


def _check_owned(tx: Transaction, project_id: str, limits: Limits, size_gb: int | None) -> None:
    """Raise `QuotaExceeded` unless the project may own one more snapshot of this size."""
    if limits.limit_snapshots:
        # An earlier request in the queue may have changed the limit.
        limits = _queue(tx, [project_id], require_rows=True)[project_id]
        used = quotas.usage_of_snapshots(tx.conn, [project_id])[project_id]
        rules.check(used, limits, Usage(snapshots=1, gigabytes=size_gb or 0))


def _check_volumes(tx: Transaction, project_id: str, limits: Limits) -> None:
    if limits.volumes != UNLIMITED:
        limits = _queue(tx, [project_id], require_rows=True)[project_id]
        rules.check(quotas.usage_of_volumes(tx.conn, project_id), limits, rules.ONE_VOLUME)


def admit(tx: Transaction, resolved: Sequence[Change[Snapshot]]) -> list[Change[Snapshot]]:
    """Return the changes of snapshots whose object was found; an operation fails if its size exceeds the quota.

    Other requests and resolutions of a project with limited snapshots wait until the transaction ends. The usage is
    that of the locked records, so that a snapshot whose resolution was written before counts once. Changes of
    operations that another worker has claimed are left out.
    """
    projects = {change.after.requester.project_id for change in resolved}
    limits_of = _queue(tx, projects, require_rows=tx.rules.quota.limit_snapshots)
    limited = {project: limits for project, limits in limits_of.items() if limits.limit_snapshots}
    if not limited:
        return list(resolved)
    current = {
        record.id: record for record in records.lock_many(tx.conn, Snapshot, [each.after.id for each in resolved])
    }
    held = [each for each in resolved if each.after.id in current and current[each.after.id].fence == each.before.fence]
    used = quotas.usage_of_snapshots(tx.conn, limited)
    refused: dict[str, QuotaExceeded] = {}
    for project, limits in limited.items():
        own = [(current[each.after.id], each.after) for each in held if each.after.requester.project_id == project]
        refused |= rules.oversized(used[project], limits, own)
    return [
        lifecycle.fail(each.before, refused[each.after.id], tx.now, tx.rules.retry)
        if each.after.id in refused
        else each
        for each in held
    ]


def _open_queue(project_id: str, tx: Transaction) -> None:
    quotas.open_queue(tx.conn, project_id)


def _queue(tx: Transaction, project_ids: Collection[str], require_rows: bool) -> dict[str, Limits]:
    """Wait for the rows of projects, and return their limits; raise `NoQueue` if a row is missing and required."""
    found = quotas.queue(tx.conn, project_ids)
    if require_rows and (missing := set(project_ids) - set(found)):
        raise quotas.NoQueue(missing)
    return {project_id: own.over(tx.rules.quota) for project_id, own in found.items()}
