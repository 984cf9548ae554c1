"""Requests under an idempotency key, on every database: repeated requests are carried out once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.outbox import Message
from snapmanage.core.quotas import UNLIMITED, Limits
from snapmanage.core.records import Snapshot, Volume
from snapmanage.manage import requests
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.keys import EXPIRED_KEYS_PER_REQUEST
from snapmanage.store import outbox, records
from snapmanage.store.engine import database as transactions
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import NOW, PROJECT, new_id

T = TypeVar("T")
TTL = timedelta(days=1)
TOGETHER = 20
KEY = IdempotencyKey.of(PROJECT, "k", "manage snapshot", {"a": 1})
OTHER_REQUEST = IdempotencyKey.of(PROJECT, "k", "manage snapshot", {"a": 2})


def request(app: Application, source: str = "daily", key: IdempotencyKey | None = KEY, **fields: Any) -> Snapshot:
    return requests.request_snapshot(app, examples.snapshot(source, id=new_id(), **fields), key=key)


def made(database: Database) -> list[str]:
    """Return the ids of all snapshots."""
    with database.read() as conn:
        return [snapshot_id for snapshot_id, _ in records.page_sizes(conn, Snapshot, ListQuery(None))]


def casts(database: Database) -> list[str]:
    """Return the ids of the records with a cast in the outbox."""
    with database.read() as conn:
        return [message.record_id for message, _ in outbox.take(conn, NOW + timedelta(days=7), 1000)]


def keys_kept(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(tables.idempotency_keys)).scalar_one())


def all_at_once(act: Callable[[int], T]) -> list[T]:
    """Run a function in many threads at the same time, and return the results."""
    together = threading.Barrier(TOGETHER, timeout=20)

    def act_together(number: int) -> T:
        together.wait()
        return act(number)

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(act_together, range(TOGETHER)))


# At the same time.


def test_twenty_requests_at_once_get_the_same_snapshot_and_it_is_cast_once(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Requests queue, so that no transaction is retried.
    monkeypatch.setattr(transactions, "repeatable", lambda error: False)
    nudged: list[Message] = []
    nudging = replace(app, outbox_writer=OutboxWriter(nudged.extend))

    answers = all_at_once(lambda _: request(nudging))

    [snapshot_id] = made(app.db)
    assert {answer.id for answer in answers} == {snapshot_id}
    assert casts(app.db) == [message.record_id for message in nudged] == [snapshot_id]
    assert keys_kept(app.db) == 1


def test_twenty_requests_at_once_under_an_expired_key_get_the_same_new_snapshot(
    app: Application, clock: FakeClock
) -> None:
    old = request(app)
    clock.advance(days=1)
    always_up = awake(app)

    answers = all_at_once(lambda _: request(always_up, "weekly"))

    [new] = {answer.id for answer in answers}
    assert new != old.id
    assert sorted(made(app.db)) == sorted([old.id, new])
    assert keys_kept(app.db) == 1


def test_twenty_requests_at_once_that_fail_all_get_the_error_and_the_key_is_free(app: Application) -> None:
    request(app, key=None)

    def refused(_: int) -> bool:
        with pytest.raises(errors.AlreadyManaged):
            request(app)
        return True

    assert all(all_at_once(refused))

    assert keys_kept(app.db) == 0
    request(app, "weekly")


def test_if_the_first_request_fails_another_one_is_served(app: Application) -> None:
    """Each request names its own object under the same key, so that only some requests fail."""
    request(app, "taken", key=None)

    def answer(number: int) -> str | None:
        try:
            return request(app, "taken" if number % 2 else f"free-{number}").id
        except errors.AlreadyManaged:
            return None

    served = set(all_at_once(answer)) - {None}

    assert len(served) == 1
    assert len(made(app.db)) == 2


# One after the other.


def test_repeat_returns_the_record_as_it_is_now_and_writes_nothing(app: Application) -> None:
    first = request(app)
    app.db.write(lambda conn, _: conn.execute(tables.snapshots.update().values(status="error", reason="it broke")))

    again = request(app)

    assert (again.id, again.status.value, again.reason) == (first.id, "error", "it broke")
    assert casts(app.db) == [first.id]


def test_repeat_is_answered_even_if_the_request_would_now_be_refused(app: Application, clock: FakeClock) -> None:
    limited = replace(app, rules=replace(app.rules, quota=Limits(1, UNLIMITED)))
    first = request(limited)
    clock.advance(hours=23)  # the server has sent no heartbeat since

    assert request(limited).id == first.id


def test_repeat_for_an_unmanaged_snapshot_returns_the_tombstone_and_manages_nothing(app: Application) -> None:
    first = request(app)
    bury = tables.snapshots.update().values(status="deleted", deleted_at=NOW, reference_key=None)
    app.db.write(lambda conn, _: conn.execute(bury))

    again = request(app)

    assert (again.id, again.status.value) == (first.id, "deleted")
    assert casts(app.db) == [first.id]


def test_repeat_for_a_record_that_no_longer_exists_is_refused(app: Application) -> None:
    first = request(app)
    app.db.write(lambda conn, _: conn.execute(tables.snapshots.delete()))

    with pytest.raises(errors.NotFound, match=f"{first.id}.*new key"):
        request(app)

    assert made(app.db) == []


def test_key_of_another_request_is_refused_and_nothing_is_written(app: Application) -> None:
    first = request(app)

    with pytest.raises(errors.KeyReused):
        request(app, "weekly", OTHER_REQUEST)

    assert made(app.db) == [first.id]


def test_request_that_failed_keeps_no_key(app: Application) -> None:
    full = replace(app, rules=replace(app.rules, quota=Limits(0, UNLIMITED)))
    for failing, volume_id in ((full, examples.VOLUME_ID), (app, new_id())):
        with pytest.raises(errors.Invalid):
            request(failing, volume_id=volume_id)

    assert request(app, key=OTHER_REQUEST).id == request(app, key=OTHER_REQUEST).id


def test_volume_is_registered_once(app: Application) -> None:
    first, again = (
        requests.register_volume(app, examples.volume("other", id=new_id()), replace(KEY, request_digest="v"))
        for _ in range(2)
    )

    assert isinstance(again, Volume)
    assert again == first
    assert casts(app.db) == [first.id]
    with pytest.raises(errors.KeyReused):
        request(app)


# Later.


def test_key_is_kept_for_a_day_and_can_be_used_anew_then(app: Application, clock: FakeClock) -> None:
    first = request(app)
    clock.advance(days=1, microseconds=-1)
    assert request(app).id == first.id
    clock.advance(microseconds=1)
    always_up = awake(app)

    new = request(always_up, "weekly", OTHER_REQUEST)

    assert new.id != first.id
    clock.advance(hours=23)
    assert request(always_up, "weekly", OTHER_REQUEST).id == new.id
    with pytest.raises(errors.KeyReused):
        request(always_up)


def test_lifetime_of_keys_is_configured(app: Application, clock: FakeClock) -> None:
    brief = replace(app, rules=replace(app.rules, idempotency_key_ttl=timedelta(seconds=5)))
    first = request(brief)
    clock.advance(seconds=5)

    assert request(brief, "weekly").id != first.id


def test_each_new_key_deletes_some_expired_keys(app: Application, clock: FakeClock) -> None:
    for number in range(EXPIRED_KEYS_PER_REQUEST + 2):
        request(app, f"old-{number}", replace(KEY, key_digest=f"old-{number}"))
    clock.advance(days=1, seconds=1)
    always_up = awake(app)

    request(always_up, "a", replace(KEY, key_digest="a"))
    assert keys_kept(app.db) == 2 + 1
    request(always_up, "b", replace(KEY, key_digest="b"))
    assert keys_kept(app.db) == 2


def awake(app: Application) -> Application:
    """Return the application with a rule by which no heartbeat is ever overdue."""
    return replace(app, rules=replace(app.rules, service_down=timedelta(days=365)))
