"""Quotas of volumes and of failed records, on every database."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import event

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.quotas import Limits, Usage
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume
from snapmanage.manage import requests, unmanaging
from snapmanage.manage.application import Application
from snapmanage.store import quotas, records
from snapmanage.store.engine import database as transactions
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import NOW, PROJECT, RETRY, new_id

THREADS = 8
EACH = 4
OTHERS = Requester("another project")


def with_limits(app: Application, limits: Limits) -> Application:
    return replace(app, rules=replace(app.rules, quota=limits))


def used(db: Database) -> Usage:
    with db.read() as conn:
        return quotas.usage(conn, PROJECT)


def register(app: Application, source: str, requester: Requester = examples.REQUESTER) -> Volume:
    return requests.register_volume(app, examples.volume(source, id=new_id(), requester=requester))


def request(app: Application, source: str = "daily") -> Snapshot:
    return requests.request_snapshot(app, examples.snapshot(source, id=new_id()))


def fail(db: Database, record: Record) -> None:
    """Let an operation end in error."""
    change = lifecycle.fail(record, errors.SourceNotFound("gone"), NOW, RETRY)
    db.write(lambda conn, _: records.update(conn, [change], locked=True))


@pytest.mark.parametrize("limit", [Limits(volumes=5), Limits(volumes=0)], ids=["some", "none"])
def test_volumes_that_are_registered_at_once_get_no_more_than_the_limit(
    app: Application, limit: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "repeatable", lambda error: False)
    limited = with_limits(app, limit)
    together = threading.Barrier(THREADS, timeout=20)

    def register_each(thread: int) -> int:
        together.wait()
        return sum(is_registered(limited, f"{thread}-{number}") for number in range(EACH))

    with ThreadPoolExecutor(THREADS) as pool:
        registered = sum(pool.map(register_each, range(THREADS)))

    assert registered == limit.volumes
    assert used(app.db) == Usage(volumes=limit.volumes)


def is_registered(app: Application, source: str) -> bool:
    try:
        return bool(register(app, source))
    except errors.QuotaExceeded:
        return False


def test_volume_that_could_not_be_registered_leaves_its_quota(app: Application) -> None:
    limited = with_limits(app, Limits(volumes=1))
    failing = register(limited, "nowhere")
    with pytest.raises(errors.QuotaExceeded, match="volumes: 1 of 1"):
        register(limited, "disk-2")

    fail(app.db, failing)

    assert register(limited, "disk-2").status is Status.CREATING
    assert used(app.db) == Usage(volumes=1, failed_records=1)


def test_volumes_of_other_projects_do_not_count(app: Application) -> None:
    limited = with_limits(app, Limits(volumes=1))

    register(limited, "theirs", OTHERS)

    assert register(limited, "mine").status is Status.CREATING


def test_failed_snapshots_and_volumes_count_together_until_requests_are_refused(app: Application) -> None:
    limited = with_limits(app, Limits(failed_records=2))
    fail(app.db, request(limited))
    fail(app.db, register(limited, "nowhere"))

    for refused in (lambda: request(limited), lambda: register(limited, "disk-2")):
        with pytest.raises(errors.QuotaExceeded, match=r"failed_records: 2 of 2 .* unmanage or retry the snapshots"):
            refused()


def test_project_may_request_again_once_it_has_unmanaged_a_failed_snapshot(app: Application) -> None:
    limited = with_limits(app, Limits(failed_records=1))
    failed = request(limited)
    fail(app.db, failed)

    unmanaging.unmanage(limited, failed.id, examples.REQUESTER)

    assert request(limited).status is Status.CREATING


def test_snapshot_that_could_not_be_unmanaged_is_not_a_failed_record(app: Application) -> None:
    managed = request(app)
    app.db.write(lambda conn, _: records.update(conn, [lifecycle.succeed(managed, examples.found(), NOW)], locked=True))
    fail(app.db, unmanaging.unmanage(app, managed.id, examples.REQUESTER))

    assert used(app.db) == Usage(snapshots=1, gigabytes=3)


def test_limit_of_a_project_overrides_the_default_for_failed_records(app: Application) -> None:
    app.db.write(lambda conn, _: quotas.change(conn, PROJECT, {"failed_records": 0}))

    with pytest.raises(errors.QuotaExceeded):
        request(with_limits(app, Limits(failed_records=1000)))


def test_repeat_is_answered_although_the_project_has_too_many_failed_records(app: Application) -> None:
    limited = with_limits(app, Limits(failed_records=1))
    key = IdempotencyKey("a" * 64, "b" * 64)
    first = requests.request_snapshot(limited, examples.snapshot(id=new_id()), key=key)
    fail(app.db, first)

    again = requests.request_snapshot(limited, examples.snapshot(id=new_id()), key=key)

    assert (again.id, again.operation, again.status) == (first.id, Operation.MANAGE, Status.ERROR)


def test_limit_of_failed_records_costs_a_request_no_statement(app: Application) -> None:
    unlimited = statements_of(with_limits(app, Limits()))

    assert statements_of(with_limits(app, Limits(failed_records=1000))) == unlimited


def statements_of(app: Application) -> int:
    """Return the number of the statements of one request for a snapshot."""
    count = 0

    def listen(*_: object) -> None:
        nonlocal count
        count += 1

    event.listen(app.db.engine, "before_cursor_execute", listen)
    try:
        request(app, new_id())
    finally:
        event.remove(app.db.engine, "before_cursor_execute", listen)
    return count
