"""Requests of several clients that share a transaction, on every database: each gets the outcome it would get alone."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from snapmanage import errors
from snapmanage.core.quotas import Limits
from snapmanage.core.records import Snapshot
from snapmanage.manage.application import Application
from snapmanage.manage.group_commit import LARGEST_GROUP, GroupCommit
from snapmanage.manage.snapshot_requests import SnapshotRequest
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from snapmanage.testing.waiting import until
from tests import examples
from tests.examples import new_id
from tests.functional.databases import ON_SERVERS
from tests.functional.manage.test_batches import cast_ids, managed, wanted

NEVER = 60.0


@dataclass
class Gate:
    """A clock of a database at which the first transaction waits until the gate is opened."""

    clock: Any
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, conn: Connection) -> datetime:
        if not self.reached.is_set():
            self.reached.set()
            assert self.opened.wait(20)
        moment: datetime = self.clock(conn)
        return moment


@dataclass
class Clients:
    """Clients with a thread each, whose requests wait while the first transaction is under way."""

    app: Application
    group_commit: GroupCommit
    pool: ThreadPoolExecutor
    everywhere: bool = False

    def send(self, request: SnapshotRequest) -> Future[Snapshot]:
        arguments = (request.snapshot, self.everywhere, request.key, request.id_chosen)
        return self.pool.submit(self.group_commit.request_snapshot, self.app, *arguments)

    def queue(self, request: SnapshotRequest) -> Future[Snapshot]:
        """Send a request, and return once it waits."""
        before = self.group_commit.waiting
        sent = self.send(request)
        until(lambda: self.group_commit.waiting > before, "the request to wait")
        return sent


@contextmanager
def writing(
    app: Application, patience_seconds: float = NEVER, first: SnapshotRequest | None = None
) -> Iterator[tuple[Clients, Gate]]:
    """Yield clients while the transaction of the `first` request waits at a gate, which is open at the end."""
    gate = Gate(app.db.clock)
    with ThreadPoolExecutor(LARGEST_GROUP + 10) as pool:
        clients = Clients(replace(app, db=Database(app.db.engine, gate)), GroupCommit(patience_seconds), pool)
        under_way = clients.send(first or wanted())
        assert gate.reached.wait(20)
        try:
            yield clients, gate
        finally:
            gate.opened.set()
        under_way.result(20)


def outcomes(app: Application, *batch: SnapshotRequest, everywhere: bool = False) -> list[Any]:
    """Return the outcomes of requests that wait together: the id of a snapshot, or the class of a refusal."""
    with writing(app) as (clients, _):
        clients.everywhere = everywhere
        sent = [clients.queue(each) for each in batch]
    return [kind(each) for each in sent]


def kind(sent: Future[Snapshot]) -> Any:
    error = sent.exception(20)
    return sent.result().id if error is None else type(error)


@contextmanager
def counted_commits(app: Application) -> Iterator[list[int]]:
    commits: list[int] = []

    def note(conn: Connection) -> None:
        commits.append(1)

    event.listen(app.db.engine, "commit", note)
    try:
        yield commits
    finally:
        event.remove(app.db.engine, "commit", note)


def test_requests_that_wait_share_one_transaction(app: Application) -> None:
    batch = [wanted() for _ in range(5)]

    with counted_commits(app) as commits:
        answers = outcomes(app, *batch)

    assert answers == [each.snapshot.id for each in batch]
    assert len(commits) == 2
    assert cast_ids(app) == sorted(managed(app))


def test_transaction_has_a_largest_number_of_requests(app: Application) -> None:
    batch = [wanted() for _ in range(LARGEST_GROUP + 1)]

    with counted_commits(app) as commits:
        answers = outcomes(app, *batch)

    assert answers == [each.snapshot.id for each in batch]
    assert len(commits) == 3


def test_lone_request_is_written_by_its_own_thread(app: Application) -> None:
    group_commit, request = GroupCommit(NEVER), wanted()
    with counted_commits(app) as commits:
        answer = group_commit.request_snapshot(app, request.snapshot)

    assert (answer.id, len(commits)) == (request.snapshot.id, 1)


def test_request_is_answered_only_after_the_commit(app: Application) -> None:
    with writing(app) as (clients, _):
        waiting = clients.queue(wanted())

        assert not waiting.done()
        assert managed(app) == {}

    assert waiting.result().id in managed(app)


def test_each_request_gets_the_outcome_that_it_would_get_alone(app: Application) -> None:
    taken = wanted("taken", key="used", id=new_id(), chosen=True)
    assert outcomes(app, taken) == [taken.snapshot.id]
    good, again = wanted(key="new", id=new_id(), chosen=True), wanted("taken", key="used", **chosen(taken))

    answers = outcomes(
        app,
        wanted("taken"),
        good,
        wanted(volume_id=new_id()),
        wanted(id=taken.snapshot.id, chosen=True),
        wanted(key="used"),
        again,
    )

    assert answers == [
        errors.AlreadyManaged,
        good.snapshot.id,
        errors.VolumeNotFound,
        errors.IdInUse,
        errors.KeyReused,
        taken.snapshot.id,
    ]


def chosen(request: SnapshotRequest) -> dict[str, Any]:
    return {"id": request.snapshot.id, "chosen": True}


def test_key_and_reference_that_two_requests_share_are_used_once(app: Application) -> None:
    first = wanted("one", key="key")

    answers = outcomes(app, first, wanted("one", key="key"), wanted("one"))

    assert answers == [first.snapshot.id, first.snapshot.id, errors.AlreadyManaged]


def test_requests_stay_within_the_quota(app: Application) -> None:
    limited = replace(app, rules=replace(app.rules, quota=Limits(snapshots=3)))

    answers = outcomes(limited, *[wanted() for _ in range(4)])

    assert answers[2:] == [errors.QuotaExceeded] * 2
    assert len(managed(app)) == 3


def test_requests_of_projects_and_rights_share_no_transaction(app: Application) -> None:
    other = replace(examples.REQUESTER, project_id="c" * 32)
    with writing(app) as (clients, _):
        foreign = clients.send(wanted(requester=other))
        clients.everywhere = True
        above = clients.send(wanted(requester=other))
        if app.db.engine.dialect.name != "sqlite":  # its transactions wait for each other
            assert above.result(20).requester.project_id == "c" * 32
            assert kind(foreign) is errors.VolumeNotFound

    assert (kind(foreign), kind(above)) == (errors.VolumeNotFound, above.result().id)


def test_request_that_the_database_refuses_is_the_only_one_to_fail(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = records.insert

    def refuse(conn: Connection, *new: Any) -> None:
        if any(each.name == "bad" for each in new):
            raise OverflowError("a number is too large")
        insert(conn, *new)

    monkeypatch.setattr(records, "insert", refuse)
    before, after = wanted(), wanted()

    answers = outcomes(app, before, wanted(name="bad"), after)

    assert answers == [before.snapshot.id, OverflowError, after.snapshot.id]


def test_requests_are_written_alone_if_another_process_was_quicker(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = records.insert

    def race(conn: Connection, *new: Any) -> None:
        if len(new) > 1:
            raise records.already_managed(new[0])
        insert(conn, *new)

    monkeypatch.setattr(records, "insert", race)
    batch = [wanted(), wanted()]

    assert outcomes(app, *batch) == [each.snapshot.id for each in batch]


def test_transaction_with_an_unknown_end_is_not_repeated(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost in the commit does not show whether the requests were written."""
    write, batch = Database.write, [wanted(), wanted()]
    calls: list[int] = []

    def lose(db: Database, work: Any, lock_seconds: int | None = None) -> Any:
        result = write(db, work, lock_seconds)
        calls.append(1)
        if len(calls) > 1:
            raise OperationalError(None, None, Exception("lost"), connection_invalidated=True)
        return result

    monkeypatch.setattr(Database, "write", lose)

    assert outcomes(app, *batch) == [OperationalError] * 2
    assert len(calls) == 2
    assert {each.snapshot.id for each in batch} <= managed(app).keys()


@ON_SERVERS
def test_stalled_transaction_delays_later_requests_only_shortly(app: Application) -> None:
    with writing(app, patience_seconds=0.05) as (clients, gate):
        later = [clients.send(wanted()) for _ in range(3)]

        assert all(each.result(20).id for each in later)
        assert not gate.opened.is_set()


@ON_SERVERS
def test_locked_volume_delays_only_its_own_requests(app: Application) -> None:
    free = examples.available_volume("free", id=new_id())
    app.db.write(lambda conn, _: records.insert(conn, free))
    locked = sa.select(tables.volumes).where(tables.volumes.c.id == examples.VOLUME_ID).with_for_update()
    with app.db.engine.begin() as other, writing(app, first=wanted(volume_id=free.id)) as (clients, gate):
        stuck, passing = clients.queue(wanted()), clients.queue(wanted(volume_id=free.id))
        other.execute(locked)

        gate.opened.set()

        assert passing.result(8)
        assert not stuck.done()
        other.rollback()
        assert stuck.result(20)
