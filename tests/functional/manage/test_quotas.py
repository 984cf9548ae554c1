"""Quotas of projects, on every database: many requests at the same time never exceed them."""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.core.quotas import UNLIMITED, Limits, Usage
from snapmanage.core.records import Snapshot
from snapmanage.manage import requests
from snapmanage.manage.application import Application
from snapmanage.store import outbox, quotas, records
from snapmanage.store.engine import database as transactions
from snapmanage.store.engine.database import Database
from snapmanage.store.records import VolumeForRequest
from tests import examples
from tests.examples import NOW, PROJECT, new_id
from tests.functional.databases import ON_SERVERS

THREADS = 16
EACH = 13
SIZE_GB = 3  # of the volume and of each snapshot


def request(app: Application, source: str = "daily", **fields: Any) -> Snapshot:
    return requests.request_snapshot(app, examples.snapshot(source, id=new_id(), **fields))


def with_default_limits(app: Application, snapshots: int = UNLIMITED, gigabytes: int = UNLIMITED) -> Application:
    return replace(app, rules=replace(app.rules, quota=Limits(snapshots, gigabytes)))


def used(database: Database) -> Usage:
    with database.read() as conn:
        return quotas.usage(conn, PROJECT)


@pytest.mark.parametrize(
    ("limit", "fits"),
    [
        (Limits(100, UNLIMITED), 100),
        (Limits(UNLIMITED, 100 * SIZE_GB + 2), 100),
        (Limits(70, 100 * SIZE_GB), 70),
        (Limits(0, UNLIMITED), 0),
    ],
    ids=["snapshots", "gigabytes", "both", "nothing"],
)
def test_two_hundred_requests_at_once_get_no_more_than_the_limit(
    app: Application, limit: Limits, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Requests queue, so that no transaction is retried.
    monkeypatch.setattr(transactions, "repeatable", lambda error: False)
    limited = with_default_limits(app, limit.snapshots, limit.gigabytes)
    together = threading.Barrier(THREADS, timeout=20)

    def request_each(thread: int) -> list[Snapshot | errors.QuotaExceeded]:
        together.wait()
        return [_granted_or_refused(limited, f"{thread}-{number}") for number in range(EACH)]

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for answers in pool.map(request_each, range(THREADS)) for answer in answers]

    granted = [answer for answer in answers if isinstance(answer, Snapshot)]
    assert (len(granted), len(answers)) == (fits, THREADS * EACH)
    assert used(app.db) == Usage(fits, fits * SIZE_GB)
    assert len(casts(app.db)) == fits


def _granted_or_refused(app: Application, source: str) -> Snapshot | errors.QuotaExceeded:
    try:
        return request(app, source)
    except errors.QuotaExceeded as refused:
        return refused


def casts(database: Database) -> set[str]:
    """Return the ids of the records with a cast in the outbox."""
    with database.read() as conn:
        return {message.record_id for message, _ in outbox.take(conn, NOW + timedelta(days=1), 1000)}


def test_snapshots_of_other_projects_do_not_count(app: Application) -> None:
    request(with_default_limits(app, snapshots=1), "daily")

    mine = replace(examples.REQUESTER, project_id="another")
    requests.request_snapshot(
        with_default_limits(app, snapshots=1), examples.snapshot("b", id=new_id(), requester=mine), True
    )

    assert used(app.db) == Usage(1, SIZE_GB)


def test_limit_of_a_project_is_effective_at_once_whether_raised_or_lowered(app: Application) -> None:
    limited = with_default_limits(app, snapshots=1)
    request(limited, "a")

    with pytest.raises(errors.QuotaExceeded):
        request(limited, "b")
    change(app.db, snapshots=2)
    request(limited, "b")
    change(app.db, snapshots=0)
    with pytest.raises(errors.QuotaExceeded, match="2 of 0"):
        request(limited, "c")
    change(app.db, snapshots=UNLIMITED)
    request(limited, "c")
    change(app.db, snapshots=None)
    with pytest.raises(errors.QuotaExceeded, match="3 of 1"):
        request(limited, "d")


def test_limit_of_a_project_is_effective_without_a_default(app: Application) -> None:
    change(app.db, gigabytes=SIZE_GB)
    request(app, "a")

    with pytest.raises(errors.QuotaExceeded, match="gigabytes"):
        request(app, "b")


@ON_SERVERS
def test_limit_that_changed_while_a_request_waited_is_effective(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(app.db, snapshots=5)
    read = records.volumes_for_request

    def read_then_change(conn: Connection, volume_ids: Collection[str], project_id: str) -> dict[str, VolumeForRequest]:
        found = read(conn, volume_ids, project_id)
        change(app.db, snapshots=0)
        return found

    monkeypatch.setattr(records, "volumes_for_request", read_then_change)

    with pytest.raises(errors.QuotaExceeded):
        request(app)


def change(database: Database, **limits: int | None) -> None:
    database.write(lambda conn, _: quotas.change(conn, PROJECT, limits))
