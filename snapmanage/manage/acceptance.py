"""Accept the requests that arrive over the bus: write them, and claim as many as the worker has room for."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from snapmanage import crash, errors
from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Claimed, WorkerId, with_volumes
from snapmanage.manage.transaction import Transaction
from snapmanage.store import outbox, ownership, records
from snapmanage.store.engine.refusals import write_in_parts

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class OperationRequest:
    """An operation as a message requests it.

    A sender that keeps its own records sends the whole `record`, the `volume` of a snapshot and the `requester`;
    `generation` is the generation of the record that the sender knows.
    """

    kind: type[Record]
    record_id: str
    operation: Operation
    record: Record | None = None
    volume: Volume | None = None
    requester: Requester | None = None
    generation: int | None = None


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
    worker's server are claimed for it in the same transaction. If the database refuses the batch, each request is
    accepted alone, and the worker claims nothing yet.
    """
    parts = write_in_parts(
        requests,
        lambda part: app.run(lambda tx: _accept(tx, part, worker, room if len(part) == len(requests) else 0)),
        _refused,
    )
    crash.at(Point.ACCEPTED)
    results = [result for part in parts for result in part]
    return Accepted(
        [refusal for result in results for refusal in result.refused],
        [claimed for result in results for claimed in result.claimed],
        {project for result in results for project in result.projects_waiting},
    )


def _refused(request: OperationRequest, error: Exception) -> list[Accepted]:
    if isinstance(error, errors.AlreadyManaged):
        raise error  # another process was quicker: the redelivered message finds the other's record
    return [Accepted(refused=[Refusal(request, error)])]


def _accept(tx: Transaction, requests: Sequence[OperationRequest], worker: WorkerId, room: int) -> list[Accepted]:
    """Accept the requests of both kinds; return the result of each kind."""
    volumes = _accept_kind(tx, Volume, requests, worker, room)
    snapshots = _accept_kind(tx, Snapshot, requests, worker, room - len(volumes.claimed))
    crash.at(Point.ACCEPT_UNCOMMITTED)
    if volumes.claimed or snapshots.claimed:
        crash.at(Point.CLAIM_UNCOMMITTED)
    return [volumes, snapshots]


def _accept_kind(
    tx: Transaction, kind: type[R], batch: Sequence[OperationRequest], worker: WorkerId, room: int
) -> Accepted:
    """Accept the requests of one kind; the operations of other servers are left to those servers."""
    requests = [request for request in batch if request.kind is kind]
    if not requests:
        return Accepted()
    known = _lock(tx, kind, requests)
    lost = ownership.lost(tx.conn, [record for record in known.values() if isinstance(record, Snapshot)])
    changes, refused = _decide(requests, known, lost, tx.now)
    for operation in Operation:
        accepted = [each.record_id for each in requests if each.operation is operation and each.record_id in known]
        if accepted:
            outbox.forget_casts(tx.conn, accepted, f"{operation.value}_{kind.__name__.lower()}")
    own = [change for change in changes if change.after.location.server == worker.server]
    others = [change for change in changes if change.after.location.server != worker.server]
    begun: list[Change[R]] = []
    for change in own[:room]:
        claim = lifecycle.claim(change.after, worker.name, tx.now, tx.rules.lease, tx.rules.retry)
        begun.append(replace(claim, before=change.before) if claim else change)
    tx.write_changes([*begun, *own[room:], *others], locked=True)
    claimed = [change.after for change in begun if change.after.claimed_by]
    waiting = {change.after.requester.project_id for change in own[room:]}
    return Accepted(refused, with_volumes(tx, claimed), waiting)


def _lock(tx: Transaction, kind: type[R], requests: Sequence[OperationRequest]) -> dict[str, R]:
    """Write the records that requests describe, if they are new; lock and return the records of all requests."""
    whole = [request for request in requests if request.record is not None]
    records.insert_missing(tx.conn, [replace(each.volume, created_at=tx.now) for each in whole if each.volume])
    records.insert_missing(tx.conn, [replace(each.record, created_at=tx.now) for each in whole if each.record])
    locked = records.lock_many(tx.conn, kind, [request.record_id for request in requests])
    return {record.id: record for record in locked}


def _decide(
    requests: Sequence[OperationRequest], known: Mapping[str, R], lost: Set[str], now: datetime
) -> tuple[list[Change[R]], list[Refusal]]:
    """Return at most one change for each record, and the refusals; a request meets the state that the last one left."""
    current, changes, refused = dict(known), list[Change[R]](), list[Refusal]()
    for request in requests:
        record = current.get(request.record_id)
        try:
            if record is None:
                what = f"{request.kind.__name__.lower()} {request.record_id}"
                raise errors.NotFound(f"{what} is unknown, and the message doesn't describe it")
            is_lost = record.id in lost
            change = lifecycle.accept(record, request.operation, now, request.requester, is_lost, request.generation)
        except errors.Invalid as error:
            refused.append(Refusal(request, error))
            continue
        if change:
            changes.append(change)
            current[record.id] = change.after
    return changes, refused
