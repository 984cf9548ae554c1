"""Accept the requests that arrive over the bus: write them, and claim as many as the worker has room for."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from snapmanage import crash, errors
from snapmanage.core import lifecycle, removals
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Volume, changed
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Claimed, WorkerId, with_volumes
from snapmanage.manage.removals import remove
from snapmanage.manage.transaction import Transaction
from snapmanage.store import outbox, ownership, records
from snapmanage.store.audit import log
from snapmanage.store.engine.refusals import write_in_parts

LOG = logging.getLogger(__name__)

RecordKey = tuple[type[Record], str]


@dataclass(frozen=True)
class OperationRequest:
    """An operation as a message requests it.

    A sender that keeps its own records sends the whole `record`, the `volume` of a snapshot and the `requester`;
    `generation` is the generation of the record that the sender knows. `upstream` names the dialect of a sender that
    waits for the outcome.
    """

    kind: type[Record]
    record_id: str
    operation: Operation
    record: Record | None = None
    volume: Volume | None = None
    requester: Requester | None = None
    generation: int | None = None
    upstream: str | None = None


@dataclass(frozen=True)
class Refusal:
    """A request that can't be accepted, and the reason: its record is unknown, is not settled, or can't be written."""

    request: OperationRequest
    error: Exception


@dataclass(frozen=True)
class Accepted:
    """The result for a batch of requests.

    `claimed` holds the operations that the worker begins now. `projects_waiting` are the projects with more operations
    than the worker had room for.
    """

    refused: Sequence[Refusal] = ()
    claimed: Sequence[Claimed] = ()
    projects_waiting: Set[str] = frozenset()


def accept(app: Application, requests: Sequence[OperationRequest], worker: WorkerId, room: int) -> Accepted:
    """Make sure that requests are in the database, and delete their casts from the outbox.

    Records that a sender describes are written; a repeated request is accepted once. Up to `room` operations of the
    worker's server are claimed for it in the same transaction, in the order of the requests. If the database refuses
    the batch, each request is accepted alone, and the worker claims nothing yet.
    """
    parts = write_in_parts(
        requests,
        lambda part: app.run(lambda tx: _accept(tx, part, worker, room if len(part) == len(requests) else 0)),
        _refused,
    )
    crash.at(Point.ACCEPTED)
    return Accepted(
        [refusal for part in parts for refusal in part.refused],
        [claimed for part in parts for claimed in part.claimed],
        {project for part in parts for project in part.projects_waiting},
    )


def _refused(request: OperationRequest, error: Exception) -> Accepted:
    if isinstance(error, errors.AlreadyManaged):
        raise error  # another process was quicker: the redelivered message finds the other's record
    return Accepted(refused=[Refusal(request, error)])


def _accept(tx: Transaction, requests: Sequence[OperationRequest], worker: WorkerId, room: int) -> Accepted:
    """Accept the requests, and claim up to `room` operations; other servers claim their operations themselves."""
    requests = _write_described(tx, requests)
    known = _lock(tx, requests)
    removed, with_snapshots = _remove_volumes(tx, requests, known)
    known |= removed
    requests = [each for each in requests if not _removes_volume(each)]
    changes, refused = _decide(tx, requests, known)
    casts: defaultdict[str, list[str]] = defaultdict(list)
    for each in requests:
        if (each.kind, each.record_id) in known:
            casts[f"{each.operation.value}_{each.kind.__name__.lower()}"].append(each.record_id)
    for method, record_ids in casts.items():
        outbox.forget_casts(tx.conn, record_ids, method)
    own = [change for change in changes if change.after.location.server == worker.server]
    others = [change for change in changes if change.after.location.server != worker.server]
    begun: list[Change[Record]] = []
    for change in own[:room]:
        claim = lifecycle.claim(change.after, worker.name, tx.now, tx.rules.lease, tx.rules.retry)
        begun.append(replace(claim, before=change.before) if claim else change)
    tx.write_changes([*begun, *own[room:], *others], locked=True)
    claimed = with_volumes(tx, [change.after for change in begun if change.after.claimed_by])
    crash.at(Point.ACCEPT_UNCOMMITTED)
    if claimed:
        crash.at(Point.CLAIM_UNCOMMITTED)
    return Accepted([*with_snapshots, *refused], claimed, {change.after.requester.project_id for change in own[room:]})


def _write_described(tx: Transaction, requests: Sequence[OperationRequest]) -> Sequence[OperationRequest]:
    """Write the records that requests describe, if they are new; return the requests without late repeats.

    A late repeat describes a record that was purged: it was carried out before, however long its message has waited.
    """
    described = [record for each in requests for record in (each.volume, each.record) if record]
    missing = {(type(record), record.id): record for record in records.missing(tx.conn, described)}
    if not missing:
        return requests
    purged = log.announced_when_purged(tx.conn, {record.id for record in missing.values()})
    repeats = {each.record_id for each in requests if each.record and each.record_id in purged}
    for record_id in repeats:
        LOG.warning("A late request was ignored, since its record was purged: %s", fields(record_id=record_id))
    kept = [each for each in requests if each.record_id not in repeats]
    new = {
        each.record_id: missing[each.kind, each.record_id] for each in kept if (each.kind, each.record_id) in missing
    }
    described_volumes = {each.volume.id: each.volume for each in reversed(kept) if each.volume}
    parents = {record.volume_id for record in new.values() if isinstance(record, Snapshot)}
    held = _hold_parents(tx, parents, described_volumes, {each.record_id for each in kept if each.kind is Volume})
    unknown = parents | {record.id for record in missing.values() if isinstance(record, Volume)}
    absent = [volume for volume in described_volumes.values() if volume.id in unknown - held]
    records.insert_many(tx.conn, [replace(each, created_at=tx.now) for each in (*absent, *new.values())])
    return kept


def _hold_parents(
    tx: Transaction, volume_ids: Set[str], described: Mapping[str, Volume], requested: Set[str]
) -> Set[str]:
    """Hold the volumes of new snapshots, so that none is unmanaged or purged meanwhile; return the ids of those found.

    A volume that was unmanaged lives again: otherwise the snapshot would have no volume, or the request would be lost.
    `requested` are the volumes of which the batch has a request.
    """
    if not volume_ids:
        return set()
    # Two servers that exchanged shared locks for stronger ones would deadlock: the stronger ones come first, where the
    # volume is a tombstone already, or the batch registers or removes it.
    changes = not volume_ids.isdisjoint(requested) or any(
        volume.deleted_at for volume in records.get_many(tx.conn, Volume, volume_ids)
    )
    held = (records.lock_many if changes else records.hold_many)(tx.conn, Volume, volume_ids)
    if tombstones := [volume for volume in held if volume.deleted_at]:
        owned = ownership.owned_by_volumes(tx.conn, set[str]().union(*map(removals.keys_of, tombstones)))
        revived = [removals.revive_volume(each, described.get(each.id), owned, tx.now) for each in tombstones]
        tx.write_changes(revived, locked=True)
        for change in revived:
            LOG.info("An unmanaged volume lives again, since a snapshot of it is requested: %s", fields(change.after))
    return {volume.id for volume in held}


def _lock(tx: Transaction, requests: Sequence[OperationRequest]) -> dict[RecordKey, Record]:
    """Lock and return the records of all requests."""
    locked: dict[RecordKey, Record] = {}
    kinds: tuple[type[Record], ...] = (Volume, Snapshot)
    for kind in kinds:
        record_ids = [each.record_id for each in requests if each.kind is kind]
        if record_ids:
            locked |= {(kind, record.id): record for record in records.lock_many(tx.conn, kind, record_ids)}
    return locked


def _removes_volume(request: OperationRequest) -> bool:
    return request.kind is Volume and request.operation is Operation.UNMANAGE


def _remove_volumes(
    tx: Transaction, requests: Sequence[OperationRequest], known: Mapping[RecordKey, Record]
) -> tuple[dict[RecordKey, Record], list[Refusal]]:
    """Unmanage the volumes that senders no longer have; return the tombstones, and refusals of those with snapshots.

    Nothing has to be done for a volume without a record: a sender knows more volumes than those with snapshots here.
    """
    removed, refused = dict[RecordKey, Record](), list[Refusal]()
    for each in filter(_removes_volume, requests):
        volume = {**known, **removed}.get((Volume, each.record_id))
        if isinstance(volume, Volume) and volume.deleted_at is None:
            try:
                tombstone = remove(tx, volume, each.requester or volume.requester)
            except errors.InvalidState as error:
                refused.append(Refusal(each, error))
            else:
                removed[Volume, volume.id] = tombstone
    return removed, refused


def _decide(
    tx: Transaction, requests: Sequence[OperationRequest], known: Mapping[RecordKey, Record]
) -> tuple[list[Change[Record]], list[Refusal]]:
    """Return at most one change for each record, and the refusals; a request meets the state that the last one left."""
    named = {(each.kind, each.record_id) for each in requests if each.operation is Operation.UNMANAGE}
    unmanaged = [record for key in named if isinstance(record := known.get(key), Snapshot)]
    lost = ownership.lost(tx.conn, unmanaged) if unmanaged else set[str]()
    current, changes, refused = dict(known), list[Change[Record]](), list[Refusal]()
    for each in requests:
        record = current.get((each.kind, each.record_id))
        try:
            if record is None:
                what = f"{each.kind.__name__.lower()} {each.record_id}"
                raise errors.NotFound(f"{what} is unknown, and the message doesn't describe it")
            is_lost = record.id in lost
            change = lifecycle.accept(record, each.operation, tx.now, each.requester, is_lost, each.generation)
        except errors.Invalid as error:
            refused.append(Refusal(each, error))
            continue
        if each.upstream and isinstance(record, Snapshot):
            change = _marked(record, each.operation, each.upstream, change)
        if change:
            changes.append(change)
            current[each.kind, each.record_id] = change.after
    return changes, refused


def _marked(
    snapshot: Snapshot, operation: Operation, dialect: str, change: Change[Record] | None
) -> Change[Record] | None:
    """Return the change with the mark that the upstream waits for the outcome.

    The record may be older than the mark, or another client may have chosen its id. If such a snapshot is settled, a
    request of the upstream to manage it ends at once.
    """
    if change:
        return replace(change, after=changed(change.after, upstream=dialect))
    if operation is Operation.MANAGE and not snapshot.upstream:
        return Change(snapshot, changed(snapshot, upstream=dialect))
    return None
