"""Purging deletes old rows in batches, on every database."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.core.edits import Edit
from snapmanage.core.idempotency import KeyUse
from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.records import Snapshot, Status, Volume
from snapmanage.core.services import Service
from snapmanage.manage import edits, requests
from snapmanage.manage.application import Application
from snapmanage.manage.maintenance.purge import BATCH, Result
from snapmanage.store import idempotency, records, redeliveries, services
from snapmanage.store.audit import log
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import new_id
from tests.functional.manage.maintenance.purge.history import (
    OLD,
    failed,
    pass_days,
    present,
    purged,
    quarantined_cast,
    tombstone,
    tombstone_of_volume,
    user_messages,
    write,
)

T = TypeVar("T")


def test_old_tombstones_are_deleted_and_younger_ones_stay(app: Application, clock: FakeClock) -> None:
    old = tombstone(app)
    pass_days(app, clock)
    young = tombstone(app)

    result = purged(app, Kind.TOMBSTONES)

    assert result == {Kind.TOMBSTONES: Result(Kind.TOMBSTONES, deleted=1)}
    assert present(app, old, young) == [young]


def test_failed_record_that_was_renamed_lately_is_as_old_as_its_failure(app: Application, clock: FakeClock) -> None:
    snapshot = failed(app)
    pass_days(app, clock)
    edits.edit(app, Snapshot, snapshot, None, Edit({"name": "new"}))

    purged(app, Kind.FAILED)

    assert present(app, snapshot) == []


def test_old_failed_records_are_deleted_with_their_user_messages(app: Application, clock: FakeClock) -> None:
    snapshot, volume = failed(app), failed(app, examples.volume)
    pass_days(app, clock)
    young = failed(app)

    result = purged(app, Kind.FAILED)

    assert result == {Kind.FAILED: Result(Kind.FAILED, deleted=2, messages=2)}
    assert present(app, snapshot, young) == [young]
    assert present(app, volume, kind=Volume) == []
    assert user_messages(app) == [young]


def test_quarantined_message_that_has_arrived_again_is_young(app: Application, clock: FakeClock) -> None:
    named = new_id()
    quarantined_cast(app, named)
    clock.advance(days=OLD)
    quarantined_cast(app, named)

    assert purged(app, Kind.QUARANTINE)[Kind.QUARANTINE].deleted == 0


def test_quarantined_message_that_contradicts_the_audit_log_stays(app: Application, clock: FakeClock) -> None:
    quarantined_cast(app, new_id(), event_id=new_id())
    clock.advance(days=OLD)

    assert purged(app, Kind.QUARANTINE)[Kind.QUARANTINE].deleted == 0


def test_dry_run_counts_what_a_run_deletes_and_deletes_nothing(app: Application, clock: FakeClock) -> None:
    everything = [tombstone(app), failed(app), failed(app)]
    quarantined_cast(app, new_id())
    app.db.write(lambda conn, now: redeliveries.count_attempt(conn, new_id(), now))
    app.db.write(lambda conn, now: idempotency.hold(conn, [KeyUse("a" * 64, "b" * 64, new_id(), now)]))
    write(app, examples.snapshot(id=new_id(), location=replace(examples.LOCATION, backend="other")))
    for server in ("storage-1@other", "storage-9@gone"):
        app.db.write(lambda conn, now, server=server: services.beat(conn, Service(server, "fake", now)))  # type: ignore[misc]
    pass_days(app, clock)

    dry = purged(app, *Kind, dry_run=True)
    here = present(app, *everything)
    real = purged(app, *Kind)

    assert here == everything
    assert (dry[Kind.MESSAGES].deleted, real[Kind.MESSAGES].deleted) == (2, 0)  # the records took theirs along
    assert [dry[kind] for kind in Kind if kind is not Kind.MESSAGES] == [
        real[kind] for kind in Kind if kind is not Kind.MESSAGES
    ]
    assert {kind: result.deleted for kind, result in real.items()} == {
        Kind.QUARANTINE: 1,
        Kind.TOMBSTONES: 1,
        Kind.FAILED: 2,
        Kind.MESSAGES: 0,
        Kind.KEYS: 1,
        Kind.SUSPECTS: 1,
        Kind.SERVICES: 1,
    }


def test_limit_restricts_each_kind_and_the_rest_is_deleted_later(app: Application, clock: FakeClock) -> None:
    old = [tombstone(app) for _ in range(5)]
    pass_days(app, clock)

    first = purged(app, Kind.TOMBSTONES, limit=2)[Kind.TOMBSTONES].deleted
    second = purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES].deleted

    assert (first, second, present(app, *old)) == (2, 3, [])


@pytest.mark.parametrize("kind", [Kind.QUARANTINE, Kind.SERVICES])
def test_limit_restricts_rows_of_other_kinds_too(app: Application, clock: FakeClock, kind: Kind) -> None:
    for number in range(3):
        quarantined_cast(app, new_id())
        gone = f"storage-{number}@gone"
        app.db.write(lambda conn, now, gone=gone: services.beat(conn, Service(gone, "fake", now)))  # type: ignore[misc]
    clock.advance(days=OLD)

    assert [purged(app, kind, limit=2)[kind].deleted for _ in range(2)] == [2, 1]


def test_more_rows_than_one_batch_are_deleted(app: Application, clock: FakeClock) -> None:
    many = [examples.snapshot(id=new_id(), status=Status.DELETED, deleted_at=app.db.now()) for _ in range(BATCH + 50)]
    app.db.write(lambda conn, _: records.insert_many(conn, many))
    pass_days(app, clock)

    assert purged(app, Kind.TOMBSTONES, dry_run=True)[Kind.TOMBSTONES].deleted == BATCH + 50
    assert purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES].deleted == BATCH + 50


@pytest.mark.parametrize(("number", "transactions"), [(BATCH, 1), (BATCH + 1, 2)])
def test_transaction_deletes_at_most_two_hundred_rows(
    app: Application, clock: FakeClock, number: int, transactions: int
) -> None:
    many = [examples.snapshot(id=new_id(), status=Status.DELETED, deleted_at=app.db.now()) for _ in range(number)]
    app.db.write(lambda conn, _: records.insert_many(conn, many))
    pass_days(app, clock)
    counting = CountingDatabase(app.db.engine, app.db.clock)

    assert purged(replace(app, db=counting), Kind.TOMBSTONES)[Kind.TOMBSTONES].deleted == number
    assert counting.transactions == transactions


class CountingDatabase(Database):
    """A database that counts the transactions that write."""

    transactions = 0

    def write(self, work: Callable[[Connection, datetime], T], lock_seconds: int | None = None) -> T:
        self.transactions += 1
        return super().write(work, lock_seconds)


def test_two_purges_at_once_delete_each_row_once(app: Application, clock: FakeClock) -> None:
    many = [examples.snapshot(id=new_id(), status=Status.DELETED, deleted_at=app.db.now()) for _ in range(3 * BATCH)]
    app.db.write(lambda conn, _: records.insert_many(conn, many))
    pass_days(app, clock)
    together = threading.Barrier(2, timeout=20)

    def run(_: int) -> int:
        together.wait()
        return purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES].deleted

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(run, range(2))) == 3 * BATCH


def test_project_may_request_again_after_a_purge(app: Application, clock: FakeClock) -> None:
    limited = replace(app, rules=replace(app.rules, quota=replace(app.rules.quota, failed_records=1)))
    failed(app)
    pass_days(app, clock)
    with pytest.raises(errors.QuotaExceeded):
        requests.request_snapshot(limited, examples.snapshot(id=new_id()))

    purged(app, Kind.FAILED)

    assert requests.request_snapshot(limited, examples.snapshot(id=new_id())).status is Status.CREATING


def test_tombstone_of_a_volume_is_purged_and_its_id_stays_known(app: Application, clock: FakeClock) -> None:
    old = tombstone_of_volume(app)
    pass_days(app, clock)
    young = tombstone_of_volume(app)

    assert purged(app, Kind.TOMBSTONES)[Kind.TOMBSTONES].deleted == 1

    assert present(app, old, young, kind=Volume) == [young]
    with app.db.read() as conn:
        assert log.announced_when_purged(conn, [old]) == {old: 0}
