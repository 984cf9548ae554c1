"""Claims of a server's workers on what is due: take, renew, give back.

Each takes many at once, in one transaction.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from snapmanage import crash
from snapmanage.core import lifecycle
from snapmanage.core.outbox import Message
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.crash import Point
from snapmanage.manage import writing
from snapmanage.manage.application import Application, commit
from snapmanage.store import records


@dataclass(frozen=True)
class Claimed:
    """An operation that this worker holds, with the volume where a snapshot's parent must be checked."""

    record: Record
    volume: Volume | None = None


@dataclass(frozen=True)
class Taker:
    """A worker of `server` that begins at once what is accepted for it, as far as it has room.

    `room` tells for how many, having waited a moment for as many as are wanted; `take` is handed what was claimed
    for it, and whose there is more that is due.
    """

    server: str
    worker: str
    room: Callable[[int], int]
    take: Callable[[Sequence[Claimed], Set[str]], None]


NOBODY = Taker("", "", lambda wanted: 0, lambda claimed, left: None)


def claim(app: Application, server: str, worker: str, limit: int, turns: Sequence[str] = ()) -> list[Claimed]:
    """Take up to `limit` due operations of a server, of volumes first; starts are announced.

    The projects whose turn it is get their share first.
    """

    def write(conn: Connection, now: datetime) -> tuple[list[Claimed], list[Message]]:
        owed: list[Message] = []
        claimed: list[Record] = []
        for kind in (Volume, Snapshot):
            due = records.take_due(conn, kind, server, now, limit - len(claimed), turns)
            changes = [lifecycle.claim(record, worker, now, app.rules.lease, app.rules.retry) for record in due]
            written = [change for change in changes if change]
            owed += writing.write(app, conn, written, now)
            claimed += [change.after for change in written if change.after.status.in_progress]
        if claimed:
            crash.at(Point.CLAIM_UNCOMMITTED)
        return with_volumes(conn, claimed), owed

    return commit(app, write)


def renew(app: Application, held: Iterable[Record]) -> None:
    """Keep the claims on what the driver still works at."""
    mine = list(held)

    def write(conn: Connection, now: datetime) -> None:
        for kind in (Volume, Snapshot):
            kept = [lifecycle.renew(record, now, app.rules.lease) for record in mine if isinstance(record, kind)]
            records.update(conn, kept)

    if mine:
        app.db.write(write)


def give_back(app: Application, held: Sequence[Record]) -> None:
    """Let other workers have what this one can't finish."""

    def write(conn: Connection, now: datetime) -> None:
        for kind in (Volume, Snapshot):
            records.update(conn, [lifecycle.release(record, now) for record in held if isinstance(record, kind)])
        crash.at(Point.GIVE_BACK_UNCOMMITTED)

    if held:
        app.db.write(write)


def with_volumes(conn: Connection, claimed: Sequence[Record]) -> list[Claimed]:
    wanted = {record.volume_id for record in claimed if isinstance(record, Snapshot)}
    volumes = {volume.id: volume for volume in records.get_many(conn, Volume, wanted)} if wanted else {}
    return [
        Claimed(record, volumes.get(record.volume_id) if isinstance(record, Snapshot) else None) for record in claimed
    ]
