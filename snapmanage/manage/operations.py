"""What a server does: accept, claim, renew, resolve, settle, give back.

Each takes many at once, in one transaction; one that fails doesn't fail its neighbours.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError, StatementError

from snapmanage import crash, errors
from snapmanage.core import lifecycle, messages
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.lifecycle import Change
from snapmanage.core.messages import Message
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage.site import Site, commit, post
from snapmanage.store import outbox, records, usermessages

R = TypeVar("R", bound=Record)

AWAY = (OperationalError, InterfaceError)
REFUSED = (errors.AlreadyManaged, StatementError, ValueError, OverflowError)


@dataclass(frozen=True)
class Ask:
    """An operation as it came over the bus.

    `record` is whole, and `requester` known, where the sender keeps records of its own.
    """

    kind: type[Record]
    record_id: str
    operation: Operation
    record: Record | None = None
    volume: Volume | None = None
    requester: Requester | None = None


@dataclass(frozen=True)
class Refusal:
    """Why an ask can't be accepted: it is unknown and doesn't describe its record, or comes too early."""

    ask: Ask
    error: errors.Invalid


@dataclass(frozen=True)
class Claimed:
    """An operation that this worker holds, with the volume where a snapshot's parent must be checked."""

    record: Record
    volume: Volume | None = None


@dataclass(frozen=True)
class Taker:
    """A worker that begins at once what is accepted, as far as it has room.

    `room` tells for how many, having waited a moment for as many as are wanted; `take` is handed what was claimed
    for it, and whose there is more that is due.
    """

    worker: str
    room: Callable[[int], int]
    take: Callable[[Sequence[Claimed], Set[str]], None]


NOBODY = Taker("", lambda wanted: 0, lambda claimed, left: None)


@dataclass
class _Accepted:
    """What came of asks, as it is gathered; `worker` has `room` for some."""

    worker: str
    room: int
    refused: list[Refusal] = field(default_factory=list)
    taken: list[Record] = field(default_factory=list)
    claimed: list[Claimed] = field(default_factory=list)
    left: set[str] = field(default_factory=set)


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


def accept(site: Site, asks: Sequence[Ask], taker: Taker = NOBODY) -> list[Refusal]:
    """Make sure that what was asked is in the database, and drop its casts; return what can't be accepted.

    What a sender with its own records asks for is written as new. Asked twice is accepted once. As many as `taker`
    has room for are claimed for it in the same transaction, and handed to it once that is committed.
    """

    room = taker.room(len(asks))

    def write(conn: Connection, now: datetime) -> tuple[_Accepted, list[Message]]:
        accepted, owed = _Accepted(taker.worker, room), list[Message]()
        for kind in (Volume, Snapshot):
            owed += _accept_kind(site, conn, kind, [ask for ask in asks if ask.kind is kind], accepted, now)
        accepted.claimed = _with_volumes(conn, accepted.taken)
        crash.at(Point.ACCEPT_UNCOMMITTED)
        if accepted.claimed:
            crash.at(Point.CLAIM_UNCOMMITTED)
        return accepted, owed

    try:
        accepted = commit(site, write)
    except errors.AlreadyManaged:
        if len(asks) == 1:
            raise  # somebody else was quicker; asked again, this finds it
        return [refusal for ask in asks for refusal in accept(site, [ask], taker)]
    crash.at(Point.ACCEPTED)
    taker.take(accepted.claimed, accepted.left)
    return accepted.refused


def claim(site: Site, server: str, worker: str, limit: int, turns: Sequence[str] = ()) -> list[Claimed]:
    """Take up to `limit` due operations of a server, of volumes first; starts are announced.

    The projects whose turn it is get their share first.
    """

    def write(conn: Connection, now: datetime) -> tuple[list[Claimed], list[Message]]:
        owed: list[Message] = []
        claimed: list[Record] = []
        for kind in (Volume, Snapshot):
            due = records.take_due(conn, kind, server, now, limit - len(claimed), turns)
            changes = [lifecycle.claim(record, worker, now, site.rules.lease, site.rules.retry) for record in due]
            written = [change for change in changes if change]
            owed += _write(site, conn, written, now)
            claimed += [change.after for change in written if change.after.status.in_progress]
        if claimed:
            crash.at(Point.CLAIM_UNCOMMITTED)
        return _with_volumes(conn, claimed), owed

    return commit(site, write)


def renew(site: Site, held: Iterable[Record]) -> None:
    """Keep the claims on what the driver still works at."""
    mine = list(held)

    def write(conn: Connection, now: datetime) -> None:
        for kind in (Volume, Snapshot):
            kept = [lifecycle.renew(record, now, site.rules.lease) for record in mine if isinstance(record, kind)]
            records.update(conn, kept)

    if mine:
        site.db.write(write)


def resolve(site: Site, resolutions: Sequence[Resolution]) -> list[Snapshot]:
    """Write down what references mean before anything is renamed; return the snapshots that may go on.

    One that the database refuses, since its object is another's already or its values can't be kept, has failed.
    """

    def write(conn: Connection, now: datetime) -> list[Snapshot]:
        lease_end = now + site.rules.lease
        changes = [lifecycle.resolve(each.snapshot, each.found, each.managed_name, lease_end) for each in resolutions]
        written = [change.after for change in records.update(conn, changes)]
        crash.at(Point.RESOLVE_UNCOMMITTED)
        return written

    try:
        return site.db.write(write)
    except AWAY:
        raise
    except REFUSED as error:
        if len(resolutions) > 1:
            return [snapshot for each in resolutions for snapshot in resolve(site, [each])]
        settle(site, [Outcome(resolutions[0].snapshot, error=_refused(error))])
        return []


def settle(site: Site, outcomes: Sequence[Outcome]) -> list[Record]:
    """Write down how operations ended, or when they are tried again; return what was written.

    What isn't returned was lost to another worker, whose outcome counts. One that the database
    refuses, since its object is another's already or its values can't be kept, has failed.
    """
    try:
        return _settle(site, outcomes)
    except AWAY:
        raise
    except REFUSED as error:
        if len(outcomes) > 1:
            return [record for each in outcomes for record in settle(site, [each])]
        return _settle(site, [replace(outcomes[0], found=None, error=_refused(error))])


def give_back(site: Site, held: Sequence[Record]) -> None:
    """Let other workers have what this one can't finish."""

    def write(conn: Connection, now: datetime) -> None:
        for kind in (Volume, Snapshot):
            records.update(conn, [lifecycle.give_back(record, now) for record in held if isinstance(record, kind)])
        crash.at(Point.GIVE_BACK_UNCOMMITTED)

    if held:
        site.db.write(write)


def _apply(
    site: Site, conn: Connection, changes: Sequence[Change[R]], now: datetime
) -> tuple[list[Change[R]], list[Message]]:
    """Write changes that are current yet, with their events and messages to users."""
    written = records.update(conn, changes)
    return written, _announce(site, conn, written, now)


def _write(site: Site, conn: Connection, changes: Sequence[Change[R]], now: datetime) -> list[Message]:
    """The same with records that this transaction has locked."""
    records.write(conn, changes)
    return _announce(site, conn, changes, now)


def _announce(site: Site, conn: Connection, written: Sequence[Change[R]], now: datetime) -> list[Message]:
    both = site.rules.both_dialects
    owed = [
        message
        for change in written
        if change.event
        for message in messages.notifications(change.event, change.after.requester, both)
    ]
    usermessages.add(conn, [change.message for change in written if change.message])
    return post(site, conn, owed, now)


def _accept_kind(
    site: Site, conn: Connection, kind: type[R], asks: Sequence[Ask], accepted: _Accepted, now: datetime
) -> list[Message]:
    if not asks:
        return []
    whole = [ask for ask in asks if ask.record is not None]
    records.insert_missing(conn, [replace(ask.volume, created_at=now) for ask in whole if ask.volume])
    records.insert_missing(conn, [replace(ask.record, created_at=now) for ask in whole if ask.record])
    known = {record.id: record for record in records.lock_many(conn, kind, [ask.record_id for ask in asks])}
    # By operation too: a late repeat of `manage` must not hide an `unmanage` in the same batch.
    distinct = {(ask.record_id, ask.operation): ask for ask in asks}.values()
    lost = records.lost(conn, [record for record in known.values() if isinstance(record, Snapshot)])
    decided = [_acceptance(known.get(ask.record_id), ask, now, ask.record_id in lost) for ask in distinct]
    accepted.refused += [refusal for refusal in decided if isinstance(refusal, Refusal)]
    _forget_casts(conn, kind, [ask for ask in asks if ask.record_id in known])
    changes = [change for change in decided if isinstance(change, Change)]
    room = max(0, accepted.room - len(accepted.taken))
    taken = [_taken(site, change, accepted.worker, now) for change in changes[:room]]
    accepted.taken += [change.after for change in taken if change.after.claimed_by]
    accepted.left |= {change.after.requester.project_id for change in changes[room:]}
    return _write(site, conn, [*taken, *changes[room:]], now)


def _taken(site: Site, accepted: Change[R], worker: str, now: datetime) -> Change[R]:
    """What was just accepted, claimed."""
    claimed = lifecycle.claim(accepted.after, worker, now, site.rules.lease, site.rules.retry)
    return replace(claimed, before=accepted.before) if claimed else accepted


def _acceptance(record: R | None, ask: Ask, now: datetime, lost: bool) -> Change[R] | Refusal | None:
    if record is None:
        what = f"{ask.kind.__name__.lower()} {ask.record_id}"
        return Refusal(ask, errors.NotFound(f"{what} is unknown, and the message doesn't describe it"))
    try:
        return lifecycle.accept(record, ask.operation, now, ask.requester, lost)
    except errors.Invalid as error:
        return Refusal(ask, error)


def _forget_casts(conn: Connection, kind: type[Record], asks: Sequence[Ask]) -> None:
    for operation in Operation:
        accepted = [ask.record_id for ask in asks if ask.operation is operation]
        if accepted:
            outbox.forget_casts(conn, accepted, messages.method_of(kind.__name__.lower(), operation))


def _with_volumes(conn: Connection, claimed: Sequence[Record]) -> list[Claimed]:
    wanted = {record.volume_id for record in claimed if isinstance(record, Snapshot)}
    volumes = {volume.id: volume for volume in records.get_many(conn, Volume, wanted)} if wanted else {}
    return [
        Claimed(record, volumes.get(record.volume_id) if isinstance(record, Snapshot) else None) for record in claimed
    ]


def _settle(site: Site, outcomes: Sequence[Outcome]) -> list[Record]:
    def write(conn: Connection, now: datetime) -> tuple[list[Record], list[Message]]:
        settled: list[Record] = []
        owed: list[Message] = []
        for kind in (Volume, Snapshot):
            changes = [_ending(site, outcome, now) for outcome in outcomes if isinstance(outcome.record, kind)]
            written, announced = _apply(site, conn, changes, now)
            settled += [change.after for change in written]
            owed += announced
        crash.at(Point.SETTLE_UNCOMMITTED)
        return settled, owed

    return commit(site, write)


def _ending(site: Site, outcome: Outcome, now: datetime) -> Change[Record]:
    match outcome:
        case Outcome(record=record, error=errors.SnapmanageError() as error):
            return lifecycle.fail(record, error, now, site.rules.retry)
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
