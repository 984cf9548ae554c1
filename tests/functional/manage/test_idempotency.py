"""Requests under an idempotency key, on every database: however often they come, they are carried out once."""

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
from snapmanage.core.outbox import Message
from snapmanage.core.quotas import UNLIMITED, Amount
from snapmanage.core.records import Snapshot, Volume
from snapmanage.manage import requests
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.store import outbox, records, tables
from snapmanage.store.engine import database as transactions
from snapmanage.store.engine.database import Database
from snapmanage.store.paging import ListQuery
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import NOW, PROJECT, new_id

T = TypeVar("T")
TTL = timedelta(days=1)
TOGETHER = 20
KEY = IdempotencyKey.of(PROJECT, "k", "manage snapshot", {"a": 1})
OTHER_REQUEST = IdempotencyKey.of(PROJECT, "k", "manage snapshot", {"a": 2})


def ask(app: Application, source: str = "daily", key: IdempotencyKey | None = KEY, **fields: Any) -> Snapshot:
    return requests.request_snapshot(app, examples.snapshot(source, id=new_id(), **fields), key=key)


def made(database: Database) -> list[str]:
    """The ids of all snapshots there are."""
    with database.read() as conn:
        return [snapshot.id for snapshot in records.list_page(conn, Snapshot, ListQuery(None))]


def casts(database: Database) -> list[str]:
    """The ids of the records that casts wait for."""
    with database.read() as conn:
        return [message.record_id for message, _ in outbox.take(conn, NOW + timedelta(days=7), 1000)]


def keys_kept(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(tables.idempotency_keys)).scalar_one())


def all_at_once(act: Callable[[int], T]) -> list[T]:
    """What each of many threads gets that begin together."""
    together = threading.Barrier(TOGETHER, timeout=20)

    def begin(number: int) -> T:
        together.wait()
        return act(number)

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(begin, range(TOGETHER)))


# At the same time.


def test_twenty_at_once_get_the_one_snapshot_and_it_is_cast_once(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "deadlocked", lambda error: False)  # they queue, so that none needs a second try
    nudged: list[Message] = []
    told = replace(app, outbox_writer=OutboxWriter(nudged.extend))

    answers = all_at_once(lambda _: ask(told))

    [snapshot_id] = made(app.db)
    assert {answer.id for answer in answers} == {snapshot_id}
    assert casts(app.db) == [message.record_id for message in nudged] == [snapshot_id]
    assert keys_kept(app.db) == 1


def test_twenty_at_once_under_a_key_that_is_too_old_get_the_one_new_snapshot(
    app: Application, clock: FakeClock
) -> None:
    old = ask(app)
    clock.advance(days=1)
    heard = awake(app)

    answers = all_at_once(lambda _: ask(heard, "weekly"))

    [new] = {answer.id for answer in answers}
    assert new != old.id
    assert sorted(made(app.db)) == sorted([old.id, new])
    assert keys_kept(app.db) == 1


def test_twenty_at_once_that_can_not_be_served_are_all_told_so_and_the_key_is_free(app: Application) -> None:
    ask(app, key=None)

    def refused(_: int) -> bool:
        with pytest.raises(errors.AlreadyManaged):
            ask(app)
        return True

    assert all(all_at_once(refused))

    assert keys_kept(app.db) == 0
    ask(app, "weekly")


def test_when_the_first_fails_another_is_served(app: Application) -> None:
    """Each asks for an object of its own under the one key, so that only some requests fail."""
    ask(app, "taken", key=None)

    def answer(number: int) -> str | None:
        try:
            return ask(app, "taken" if number % 2 else f"free-{number}").id
        except errors.AlreadyManaged:
            return None

    served = set(all_at_once(answer)) - {None}

    assert len(served) == 1
    assert len(made(app.db)) == 2


# One after the other.


def test_repeat_is_answered_with_the_record_as_it_is_now_and_nothing_is_written(app: Application) -> None:
    first = ask(app)
    app.db.write(lambda conn, _: conn.execute(tables.snapshots.update().values(status="error", reason="it broke")))

    again = ask(app)

    assert (again.id, again.status.value, again.reason) == (first.id, "error", "it broke")
    assert casts(app.db) == [first.id]


def test_repeat_is_answered_though_the_request_could_not_be_served_any_more(app: Application, clock: FakeClock) -> None:
    limited = replace(app, rules=replace(app.rules, quota=Amount(1, UNLIMITED)))
    first = ask(limited)
    clock.advance(hours=23)  # nobody has heard of the server since

    assert ask(limited).id == first.id


def test_repeat_of_what_was_given_back_finds_the_tombstone_and_manages_nothing(app: Application) -> None:
    first = ask(app)
    bury = tables.snapshots.update().values(status="deleted", deleted_at=NOW, reference_key=None)
    app.db.write(lambda conn, _: conn.execute(bury))

    again = ask(app)

    assert (again.id, again.status.value) == (first.id, "deleted")
    assert casts(app.db) == [first.id]


def test_repeat_of_what_is_not_kept_any_more_is_refused(app: Application) -> None:
    first = ask(app)
    app.db.write(lambda conn, _: conn.execute(tables.snapshots.delete()))

    with pytest.raises(errors.NotFound, match=f"{first.id}.*new key"):
        ask(app)

    assert made(app.db) == []


def test_key_of_another_request_is_refused_and_nothing_is_written(app: Application) -> None:
    first = ask(app)

    with pytest.raises(errors.KeyReused):
        ask(app, "weekly", OTHER_REQUEST)

    assert made(app.db) == [first.id]


def test_request_that_failed_keeps_no_key(app: Application) -> None:
    full = replace(app, rules=replace(app.rules, quota=Amount(0, UNLIMITED)))
    for failing, volume_id in ((full, examples.VOLUME_ID), (app, new_id())):
        with pytest.raises(errors.Invalid):
            ask(failing, volume_id=volume_id)

    assert ask(app, key=OTHER_REQUEST).id == ask(app, key=OTHER_REQUEST).id


def test_volume_is_registered_once(app: Application) -> None:
    first, again = (
        requests.register_volume(app, examples.volume("other", id=new_id()), replace(KEY, request_digest="v"))
        for _ in range(2)
    )

    assert isinstance(again, Volume)
    assert again == first
    assert casts(app.db) == [first.id]
    with pytest.raises(errors.KeyReused):
        ask(app)


# Later.


def test_key_is_kept_for_a_day_and_then_stands_for_whatever_comes(app: Application, clock: FakeClock) -> None:
    first = ask(app)
    clock.advance(days=1, microseconds=-1)
    assert ask(app).id == first.id
    clock.advance(microseconds=1)
    heard = awake(app)

    new = ask(heard, "weekly", OTHER_REQUEST)

    assert new.id != first.id
    clock.advance(hours=23)
    assert ask(heard, "weekly", OTHER_REQUEST).id == new.id
    with pytest.raises(errors.KeyReused):
        ask(heard)


def test_how_long_keys_are_kept_is_configured(app: Application, clock: FakeClock) -> None:
    brief = replace(app, rules=replace(app.rules, idempotency_key_ttl=timedelta(seconds=5)))
    first = ask(brief)
    clock.advance(seconds=5)

    assert ask(brief, "weekly").id != first.id


def test_each_new_key_drops_some_of_those_that_are_too_old(app: Application, clock: FakeClock) -> None:
    for number in range(requests.FORGOTTEN_AT_ONCE + 2):
        ask(app, f"old-{number}", replace(KEY, key_digest=f"old-{number}"))
    clock.advance(days=1, seconds=1)
    heard = awake(app)

    ask(heard, "a", replace(KEY, key_digest="a"))
    assert keys_kept(app.db) == 2 + 1
    ask(heard, "b", replace(KEY, key_digest="b"))
    assert keys_kept(app.db) == 2


def awake(app: Application) -> Application:
    """The same site, where no heartbeat is ever overdue."""
    return replace(app, rules=replace(app.rules, service_down=timedelta(days=365)))
