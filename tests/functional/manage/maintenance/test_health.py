"""The facts about a deployment, as operators and Prometheus see them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage.audit.listener import Listener
from snapmanage.bus import Delivery
from snapmanage.core import outbox as messages
from snapmanage.core.audit.chain import Head
from snapmanage.core.events import Event
from snapmanage.core.maintenance import stuck
from snapmanage.core.maintenance.health import IN_FLIGHT, Amount, Facts, Waiting, Why
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Operation, Snapshot, Status
from snapmanage.core.services import Service
from snapmanage.manage.application import Application
from snapmanage.manage.maintenance import health
from snapmanage.manage.maintenance.health import Progress
from snapmanage.store import health as counts
from snapmanage.store import outbox, quarantine, records, services
from snapmanage.store.audit import log
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import NOW, SERVER, new_id
from tests.functional.audit.messages import managed

SECONDS = 90


def add(app: Application, **fields: Any) -> Snapshot:
    """Write the record of a snapshot, and return it."""
    made = examples.snapshot(**{"id": new_id(), "step_at": NOW} | fields)
    app.db.write(lambda conn, _: records.insert(conn, made))
    return made


def read(app: Application) -> Facts:
    return health.read(app)[0]


def beat(app: Application, clock: FakeClock) -> None:
    app.db.write(lambda conn, now: services.beat(conn, Service(SERVER, "fake", now)))


def test_snapshots_are_counted_by_backend_and_status_without_tombstones(app: Application) -> None:
    add(app, status=Status.AVAILABLE, size_gb=3)
    add(app, status=Status.AVAILABLE, size_gb=4)
    add(app, status=Status.ERROR)
    add(app, status=Status.DELETED, deleted_at=NOW, size_gb=5)

    facts = read(app)

    assert facts.snapshots == {(SERVER, Status.AVAILABLE): Amount(2, 7), (SERVER, Status.ERROR): Amount(1, 0)}
    assert facts.settled == {(SERVER, Status.AVAILABLE): 2, (SERVER, Status.ERROR): 1, (SERVER, Status.DELETED): 1}


STEPS: list[tuple[Why, dict[str, Any]]] = [
    (Why.NOT_ACCEPTED, {}),
    (Why.UNCLAIMED, {"due_at": NOW}),
    (Why.LEASE_EXPIRED, {"due_at": NOW + timedelta(seconds=60), "claimed_by": "me", "attempt": 1}),
    (Why.RUNNING, {"due_at": NOW + timedelta(hours=1), "claimed_by": "me", "attempt": 1}),
    (Why.RETRYING, {"due_at": NOW + timedelta(hours=1), "attempt": 1}),
]


@pytest.mark.parametrize(("why", "fields"), STEPS, ids=[why.value for why, _ in STEPS])
def test_late_operation_is_counted_with_its_reason(
    app: Application, clock: FakeClock, why: Why, fields: dict[str, Any]
) -> None:
    add(app, **fields)
    clock.advance(seconds=SECONDS)
    add(app, created_at=clock.now, **fields)
    beat(app, clock)

    assert read(app).late == {(SERVER, why): 1}


def test_reason_of_a_server_that_is_down_comes_first(app: Application, clock: FakeClock) -> None:
    add(app, due_at=NOW)
    clock.advance(seconds=SECONDS)

    assert read(app).late == {(SERVER, Why.SERVER_DOWN): 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": 1},
        {
            "status": Status.UNMANAGING,
            "operation": Operation.UNMANAGE,
            "generation": 2,
            "step_at": NOW + timedelta(seconds=60),
        },
        {"generation": 3, "started_at": NOW + timedelta(seconds=60)},
        {"generation": 3, "step_at": None},
    ],
)
def test_age_of_an_operation_is_that_of_stuck_operations(
    app: Application, clock: FakeClock, fields: dict[str, Any]
) -> None:
    record = add(app, **fields)
    clock.advance(seconds=130)
    beat(app, clock)
    explained = stuck.explain(record, clock.now, timedelta(0), None, None, timedelta(0))
    assert explained

    with app.db.read() as conn:
        before = counts.late(conn, [SERVER], clock.now, explained.since)
        after = counts.late(conn, [SERVER], clock.now, explained.since + timedelta(microseconds=1))

    assert (before, after) == ({}, {(SERVER, Why.NOT_ACCEPTED): 1})


def test_oldest_due_operation_is_reported_by_backend(app: Application, clock: FakeClock) -> None:
    for seconds in (20, 30, 500):
        add(app, due_at=NOW + timedelta(seconds=seconds))
    clock.advance(seconds=SECONDS)

    assert read(app).oldest_due == {SERVER: NOW + timedelta(seconds=20)}


@pytest.mark.parametrize(("of_volume", "of_snapshot"), [(20, 30), (30, 20)])
def test_oldest_due_operation_is_one_of_a_volume_or_of_a_snapshot(
    app: Application, clock: FakeClock, of_volume: int, of_snapshot: int
) -> None:
    volume = examples.volume("another", id=new_id(), due_at=NOW + timedelta(seconds=of_volume))
    app.db.write(lambda conn, _: records.insert(conn, volume))
    add(app, due_at=NOW + timedelta(seconds=of_snapshot))
    clock.advance(seconds=SECONDS)

    assert read(app).oldest_due == {SERVER: NOW + timedelta(seconds=20)}


def test_outbox_and_quarantine_are_counted(app: Application) -> None:
    cast = messages.cast(examples.snapshot())
    app.db.write(lambda conn, now: outbox.add(conn, [cast], now, now))
    for body in (b"one", b"two"):
        app.db.write(lambda conn, now, body=body: quarantine.add(conn, "queue", body, {}, "bad", now))  # type: ignore[misc]

    facts = read(app)

    assert facts.outbox == {Kind.CAST: Waiting(1, NOW), Kind.NOTIFICATION: Waiting()}
    assert facts.quarantine == {"queue": Waiting(2, NOW)}


def announce(app: Application, record: bool = True) -> Snapshot:
    """Write a managed snapshot, and its events into the audit log if `record` is set."""
    snapshot, deliveries = managed(new_id(), new_id())
    app.db.write(lambda conn, now: records.insert(conn, replace(snapshot, step_at=now)))
    listen(app, deliveries if record else deliveries[:1])
    return snapshot


def listen(app: Application, deliveries: list[Delivery]) -> None:
    Listener(app.db)(deliveries)


def test_event_that_is_neither_recorded_nor_in_the_outbox_makes_the_audit_late(
    app: Application, clock: FakeClock
) -> None:
    announce(app)
    announce(app, record=False)
    clock.advance(seconds=SECONDS)

    audit = read(app).audit

    assert (audit.head, audit.broken) == (3, None)
    assert (audit.lag, audit.unrecorded, audit.missing) == (timedelta(seconds=SECONDS), 1, 0)


def forget(app: Application, snapshot: Snapshot) -> None:
    """Delete the record of a snapshot."""
    this = tables.snapshots.c.id == snapshot.id
    app.db.write(lambda conn, _: conn.execute(sa.delete(tables.snapshots).where(this)))


def wait_in_outbox(app: Application, snapshot: Snapshot) -> str:
    """Write the latest event of a snapshot into the outbox, and return the message's id."""
    payload = {"event_id": new_id(), "snapshot_id": snapshot.id, "host": SERVER}
    (message,) = messages.notifications(Event("snapshot.manage.end", "INFO", payload), examples.REQUESTER, False)
    app.db.write(lambda conn, now: outbox.add(conn, [message], now, now))
    return message.id


def test_event_in_the_outbox_does_not_make_the_audit_late(app: Application, clock: FakeClock) -> None:
    wait_in_outbox(app, announce(app, record=False))
    clock.advance(seconds=SECONDS)

    assert read(app).audit.lag == timedelta(0)


def test_purged_event_does_not_make_the_audit_late(app: Application, clock: FakeClock) -> None:
    snapshot = announce(app, record=False)
    purged = {"id": snapshot.id, "purged": "1-2", "announced": 2}
    app.db.write(lambda conn, _: conn.execute(tables.audit_snapshots.insert(), purged))
    clock.advance(seconds=SECONDS)

    assert read(app).audit.unrecorded == 0


def test_event_that_leaves_the_outbox_after_a_reading_is_still_awaited(app: Application, clock: FakeClock) -> None:
    late = announce(app, record=False)
    key = wait_in_outbox(app, late)
    clock.advance(hours=2)
    _, progress = health.read(app)

    app.db.write(lambda conn, _: outbox.forget(conn, [key]))

    assert health.read(app, progress)[0].audit.unrecorded == 1


def test_cast_in_the_outbox_does_not_hide_a_lost_event(app: Application) -> None:
    cast = messages.cast(announce(app, record=False))
    app.db.write(lambda conn, now: outbox.add(conn, [cast], now, now))

    assert read(app).audit.unrecorded == 1


def test_operation_that_has_announced_nothing_is_not_awaited(app: Application) -> None:
    add(app, due_at=NOW, generation=0)

    assert read(app).audit.unrecorded == 0


def test_first_reading_compares_the_operations_of_one_day(app: Application, clock: FakeClock) -> None:
    announce(app, record=False)
    clock.advance(days=1, seconds=1)

    assert read(app).audit.unrecorded == 0


def test_events_beyond_those_that_are_remembered_are_found_later(
    app: Application, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MOST_REMEMBERED", 2)
    monkeypatch.setattr(counts, "MOST_EVENTS", 2)
    lost = []
    for _ in range(3):
        lost.append(announce(app, record=False))
        clock.advance(seconds=1)
    clock.advance(hours=1)

    _, progress = health.read(app)
    full, progress = health.read(app, progress)
    forget(app, lost[0])
    _, progress = health.read(app, progress)
    forget(app, lost[1])
    last, progress = health.read(app, progress)

    assert full.audit.unrecorded == 2
    assert last.audit.lag == timedelta(hours=1, seconds=1)


def test_event_is_missing_after_the_time_in_which_it_may_be_on_the_bus(app: Application, clock: FakeClock) -> None:
    announce(app, record=False)
    clock.advance(seconds=IN_FLIGHT.total_seconds() + 1)

    assert read(app).audit.missing == 1


def test_unrecorded_event_is_remembered_from_one_reading_to_the_next(app: Application, clock: FakeClock) -> None:
    snapshot = announce(app, record=False)
    _, progress = health.read(app)
    clock.advance(days=3)

    late, progress = health.read(app, progress)
    forget(app, snapshot)
    ended, progress = health.read(app, progress)

    assert late.audit.lag == timedelta(days=3)
    assert progress.since == clock.now - health.COMMIT_TIME
    assert ended.audit.lag == timedelta(0)


def tamper(app: Application, number: int, **columns: Any) -> None:
    changed = sa.update(tables.audit).where(tables.audit.c.number == number).values(**columns)
    app.db.write(lambda conn, _: conn.execute(changed))


def drop(app: Application, number: int) -> None:
    app.db.write(lambda conn, _: conn.execute(sa.delete(tables.audit).where(tables.audit.c.number == number)))


def readings(app: Application, count: int, progress: Progress | None = None) -> list[str | None]:
    found = []
    for _ in range(count):
        facts, progress = health.read(app, progress)
        found.append(facts.audit.broken)
    return found


def test_changed_row_at_the_end_of_the_log_is_found_at_once(app: Application) -> None:
    announce(app)

    tamper(app, 2, content="{}")

    assert read(app).audit.broken == "row 2 was changed"


@pytest.mark.parametrize(
    ("dropped", "text"), [((3,), "row 3 is missing"), ((3, 4), "row 3 is missing"), ((8,), "row 8 is missing")]
)
def test_removed_rows_are_found_by_a_series_of_readings(
    app: Application, monkeypatch: pytest.MonkeyPatch, dropped: tuple[int, ...], text: str
) -> None:
    monkeypatch.setattr(health, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        announce(app)

    for number in dropped:
        drop(app, number)

    assert any(text in (broken or "") for broken in readings(app, 6))


def test_rows_that_are_purged_between_two_readings_are_no_break(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        announce(app)
    progress: Progress | None = None
    for _ in range(2):
        _, progress = health.read(app, progress)
    with app.db.read() as conn:
        (base,) = log.numbered(conn, [5])

    app.db.write(lambda conn, _: log.move_base(conn, Head(base.number, base.digest)))
    for number in range(1, 6):
        drop(app, number)

    assert readings(app, 6, progress) == [None] * 6


def test_changed_row_in_the_middle_is_found_by_a_series_of_readings(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        announce(app)
    assert readings(app, 8) == [None] * 8

    tamper(app, 3, content="{}")
    found = readings(app, 10)

    assert found[:2] == [None, None]
    assert set(found[2:]) == {"row 3 was changed"}


def test_break_counts_until_a_round_finds_none(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        announce(app)
    with app.db.read() as conn:
        content = conn.execute(sa.select(tables.audit.c.content).where(tables.audit.c.number == 3)).scalar_one()
    tamper(app, 3, content="{}")
    progress: Progress | None = None
    for _ in range(6):
        facts, progress = health.read(app, progress)
    assert facts.audit.broken == "row 3 was changed"

    tamper(app, 3, content=content)

    found = readings(app, 10, progress)
    assert found[0] == "row 3 was changed"
    assert found[-1] is None


def test_missing_head_is_a_break(app: Application) -> None:
    app.db.write(lambda conn, _: conn.execute(sa.delete(tables.audit_head)))

    audit = read(app).audit

    assert audit.head is None
    assert audit.broken == health.NO_HEAD
