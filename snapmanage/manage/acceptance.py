"""Accept the requests that arrive over the bus: write them, and claim as many as the worker has room for."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from snapmanage import crash, errors
from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Volume, changed
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Claimed, WorkerId, with_volumes
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
    return Accepted(refused, claimed, {change.after.requester.project_id for change in own[room:]})


def _write_described(tx: Transaction, requests: Sequence[OperationRequest]) -> Sequence[OperationRequest]:
    """Write the records that requests describe, if they are new; return the requests without late repeats.

    A late repeat describes a record that was purged: it was carried out before, however long its message has waited.
    """
    described = [record for each in requests for record in (each.volume, each.record) if record]
    missing = records.missing(tx.conn, described)
    if not missing:
        return requests
    purged = log.announced_when_purged(tx.conn, [record.id for record in missing])
    repeats = {each.record_id for each in requests if each.record and each.record_id in purged}
    for record_id in repeats:
        LOG.warning("A late request was ignored, since its record was purged: %s", fields(record_id=record_id))
    kept = [each for each in requests if each.record_id not in repeats]
    needed = {record.id for each in kept for record in (each.volume, each.record) if record}
    records.insert_many(tx.conn, [replace(each, created_at=tx.now) for each in missing if each.id in needed])
    return kept


def _lock(tx: Transaction, requests: Sequence[OperationRequest]) -> dict[RecordKey, Record]:
    """Lock and return the records of all requests."""
    locked: dict[RecordKey, Record] = {}
    kinds: tuple[type[Record], ...] = (Volume, Snapshot)
    for kind in kinds:
        record_ids = [each.record_id for each in requests if each.kind is kind]
        if record_ids:
            locked |= {(kind, record.id): record for record in records.lock_many(tx.conn, kind, record_ids)}
    return locked


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
