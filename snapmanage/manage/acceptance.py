"""What comes over the bus is accepted: made sure to be in the database, and begun at once where there is room."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.core import lifecycle
from snapmanage.core import outbox as messages
from snapmanage.core.lifecycle import Change
from snapmanage.core.outbox import Message
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage import writing
from snapmanage.manage.application import Application, commit
from snapmanage.manage.claims import NOBODY, Claimed, Taker, with_volumes
from snapmanage.store import outbox, ownership, records

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Ask:
    """An operation as it came over the bus.

    `record` is whole, and `requester` known, where the sender keeps records of its own; `generation` is that
    of the record as the sender knows it.
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
    """Why an ask can't be accepted: it is unknown and doesn't describe its record, or comes too early."""

    ask: Ask
    error: errors.Invalid


@dataclass
class _Accepted:
    """What came of asks, as it is gathered; `taker` has `room` for some."""

    taker: Taker
    room: int
    refused: list[Refusal] = field(default_factory=list)
    taken: list[Record] = field(default_factory=list)
    claimed: list[Claimed] = field(default_factory=list)
    left: set[str] = field(default_factory=set)


def accept(app: Application, asks: Sequence[Ask], taker: Taker = NOBODY) -> list[Refusal]:
    """Make sure that what was asked is in the database, and drop its casts; return what can't be accepted.

    What a sender with its own records asks for is written as new. Asked twice is accepted once. Of what is its
    server's, as many as `taker` has room for are claimed for it in the same transaction, and handed to it once that
    is committed.
    """

    room = taker.room(len(asks))

    def write(conn: Connection, now: datetime) -> tuple[_Accepted, list[Message]]:
        accepted, owed = _Accepted(taker, room), list[Message]()
        for kind in (Volume, Snapshot):
            owed += _accept_kind(app, conn, kind, [ask for ask in asks if ask.kind is kind], accepted, now)
        accepted.claimed = with_volumes(conn, accepted.taken)
        crash.at(Point.ACCEPT_UNCOMMITTED)
        if accepted.claimed:
            crash.at(Point.CLAIM_UNCOMMITTED)
        return accepted, owed

    try:
        accepted = commit(app, write)
    except errors.AlreadyManaged:
        if len(asks) == 1:
            raise  # somebody else was quicker; asked again, this finds it
        return [refusal for ask in asks for refusal in accept(app, [ask], taker)]
    crash.at(Point.ACCEPTED)
    taker.take(accepted.claimed, accepted.left)
    return accepted.refused


def _accept_kind(
    app: Application, conn: Connection, kind: type[R], asks: Sequence[Ask], accepted: _Accepted, now: datetime
) -> list[Message]:
    if not asks:
        return []
    whole = [ask for ask in asks if ask.record is not None]
    records.insert_missing(conn, [replace(ask.volume, created_at=now) for ask in whole if ask.volume])
    records.insert_missing(conn, [replace(ask.record, created_at=now) for ask in whole if ask.record])
    known = {record.id: record for record in records.lock_many(conn, kind, [ask.record_id for ask in asks])}
    lost = ownership.lost(conn, [record for record in known.values() if isinstance(record, Snapshot)])
    changes = _decide(known, lost, asks, accepted, now)
    _forget_casts(conn, kind, [ask for ask in asks if ask.record_id in known])
    return writing.write(app, conn, _take(app, changes, accepted, now), now)


def _take(app: Application, changes: Sequence[Change[R]], accepted: _Accepted, now: datetime) -> list[Change[R]]:
    """Claim what there is room for; what came to the wrong server is due for the one that owns it."""
    others = [change for change in changes if change.after.server != accepted.taker.server]
    own = [change for change in changes if change.after.server == accepted.taker.server]
    room = max(0, accepted.room - len(accepted.taken))
    taken = [_taken(app, change, accepted.taker.worker, now) for change in own[:room]]
    accepted.taken += [change.after for change in taken if change.after.claimed_by]
    accepted.left |= {change.after.requester.project_id for change in own[room:]}
    return [*taken, *own[room:], *others]


def _decide(
    known: Mapping[str, R], lost: Set[str], asks: Sequence[Ask], accepted: _Accepted, now: datetime
) -> list[Change[R]]:
    """The changes that are due, at most one a record: each ask is about what those before it have left."""
    current, changes = dict(known), list[Change[R]]()
    for ask in asks:
        decided = _acceptance(current.get(ask.record_id), ask, now, ask.record_id in lost)
        if isinstance(decided, Refusal):
            accepted.refused.append(decided)
        elif decided:
            changes.append(decided)
            current[ask.record_id] = decided.after
    return changes


def _taken(app: Application, accepted: Change[R], worker: str, now: datetime) -> Change[R]:
    """What was just accepted, claimed."""
    claimed = lifecycle.claim(accepted.after, worker, now, app.rules.lease, app.rules.retry)
    return replace(claimed, before=accepted.before) if claimed else accepted


def _acceptance(record: R | None, ask: Ask, now: datetime, lost: bool) -> Change[R] | Refusal | None:
    if record is None:
        what = f"{ask.kind.__name__.lower()} {ask.record_id}"
        return Refusal(ask, errors.NotFound(f"{what} is unknown, and the message doesn't describe it"))
    try:
        return lifecycle.accept(record, ask.operation, now, ask.requester, lost, ask.generation)
    except errors.Invalid as error:
        return Refusal(ask, error)


def _forget_casts(conn: Connection, kind: type[Record], asks: Sequence[Ask]) -> None:
    for operation in Operation:
        accepted = [ask.record_id for ask in asks if ask.operation is operation]
        if accepted:
            outbox.forget_casts(conn, accepted, messages.method_of(kind.__name__.lower(), operation))
