"""Resolving and settling: an operation ends as available or in error, with its events."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.core.records import Record, Snapshot, Status
from snapmanage.core.reference import Reference
from snapmanage.core.values.retry import Retry
from snapmanage.manage import claims, settling
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.store import records
from snapmanage.store.engine.database import Database
from snapmanage.testing.waiting import until
from tests.examples import NOW, REQUESTER
from tests.functional.manage.operations.bench import DAILY, WEEKLY, Bench, fields


def test_object_is_renamed_only_after_its_identity_was_written(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)

    (resolved,) = bench.resolve(bench.claim_one())

    assert resolved == bench.record(requested)
    assert fields(resolved, "original_name", "backend_name") == [DAILY, f"snapshot-{requested.id}"]
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_managed_snapshot_is_available_under_its_new_name(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()

    assert fields(snapshot, "status", "size_gb", "due_at", "claimed_by") == [Status.AVAILABLE, 1, None, None]
    assert [found.name for found in bench.driver.list_snapshots()].count(f"snapshot-{snapshot.id}") == 1
    assert bench.message_names() == ["snapshot.manage.start", "snapshot.manage.end"]
    assert [message.body["generation"] for message in bench.messages()] == [1, 2]


def test_events_are_posted_in_both_dialects_if_configured(bench: Bench) -> None:
    bench.change_rules(both_dialects=True)

    bench.manage_snapshot()

    assert sorted(bench.message_names()) == [
        "snapshot.manage.end",
        "snapshot.manage.start",
        "snapshot.manage_existing_snapshot.end",
        "snapshot.manage_existing_snapshot.start",
    ]


def test_driver_receives_the_name_of_the_volume(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    message: list[str | None] = []
    find = bench.driver.find_snapshot

    def finding(reference: Reference, volume: str | None = None) -> BackendSnapshot:
        message.append(volume)
        return find(reference, volume)

    monkeypatch.setattr(bench.driver, "find_snapshot", finding)

    bench.manage_snapshot()

    assert message == ["volume-1"]


def test_nothing_is_renamed_without_a_name_template(bench: Bench) -> None:
    bench.change_rules(name_template="")

    snapshot = bench.manage_snapshot()

    assert fields(snapshot, "backend_name", "original_name") == [DAILY, DAILY]


def test_of_two_references_to_one_object_the_second_ends_in_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend may know an object by more than one name."""
    find = bench.driver.find_snapshot
    monkeypatch.setattr(bench.driver, "find_snapshot", lambda *_: find(Reference.named(DAILY)))
    one, other, innocent = bench.request(DAILY), bench.request("alias"), bench.request(WEEKLY)
    bench.accept(one, other)
    claims = bench.claim()
    monkeypatch.undo()
    bench.accept(innocent)
    claims += bench.claim()
    found = find(Reference.named(DAILY))
    resolutions = [
        Resolution(each.record, found if each.record.id != innocent.id else find(each.record.reference), each.record.id)
        for each in claims
        if isinstance(each.record, Snapshot)
    ]

    resolved = [snapshot for snapshot in settling.resolve(bench.app, resolutions) if snapshot.claimed_by]

    assert len(resolved) == 2
    assert innocent.id in {snapshot.id for snapshot in resolved}
    (refused,) = {one.id, other.id} - {snapshot.id for snapshot in resolved}
    settled = bench.record(one if refused == one.id else other)
    assert fields(settled, "status", "reason_code", "reference_key") == [Status.ERROR, "already_managed", None]
    (owner,) = {one.id, other.id} - {refused}
    assert str(settled.reason).endswith(f"it is snapshot {owner}")


@pytest.mark.parametrize(
    ("unsafe", "code"), [(Unsafe.IN_USE, "in_use"), (Unsafe.UNUSABLE, "unusable")], ids=["in use", "unusable"]
)
def test_snapshot_that_can_not_be_managed_ends_in_error_with_a_reason(bench: Bench, unsafe: Unsafe, code: str) -> None:
    bench.driver.mark(DAILY, unsafe, "mounted on /mnt")

    snapshot = bench.manage_snapshot()

    assert fields(snapshot, "status", "reason_code", "attempt") == [Status.ERROR, code, 1]
    (message,) = bench.user_messages()
    assert "mounted on /mnt" in message.text
    assert (message.resource_id, message.request_id) == (snapshot.id, REQUESTER.request_id)
    assert bench.message_names() == ["snapshot.manage.start", "snapshot.manage.error"]


def test_snapshot_of_another_volume_ends_in_error(bench: Bench) -> None:
    bench.driver.add_volume("other")
    bench.driver.add_snapshot("other", "foreign")

    assert bench.manage_snapshot("foreign").reason_code == "wrong_volume"


def test_transient_failure_is_retried_after_a_delay(bench: Bench) -> None:
    bench.driver.go_away()
    snapshot = bench.manage_snapshot()
    assert fields(snapshot, "status", "reason_code", "due_at") == [
        Status.CREATING,
        "backend_unavailable",
        NOW + timedelta(seconds=1),
    ]

    bench.driver.hook = lambda step: None
    bench.clock.advance(seconds=1)
    bench.carry_out_due()

    assert fields(bench.record(snapshot), "status", "attempt", "reason") == [Status.AVAILABLE, 2, None]
    assert bench.message_names() == ["snapshot.manage.start", "snapshot.manage.end"]


def test_lasting_failure_ends_in_error_after_the_last_attempt(bench: Bench) -> None:
    bench.driver.go_away()
    snapshot = bench.manage_snapshot()
    for _ in range(5):
        bench.clock.advance(minutes=1)
        bench.carry_out_due()

    assert fields(bench.record(snapshot), "status", "attempt", "reason_code") == [
        Status.ERROR,
        3,
        "backend_unavailable",
    ]
    assert bench.message_names() == ["snapshot.manage.start", "snapshot.manage.error"]
    assert len(bench.user_messages()) == 1


def test_half_done_operation_is_finished_by_the_next_worker(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    (resolved,) = bench.resolve(bench.claim_one())
    bench.carry_out_step(Claimed(resolved))
    bench.clock.advance(seconds=60)

    bench.carry_out_due()

    assert fields(bench.record(requested), "status", "attempt") == [Status.AVAILABLE, 2]


def test_late_outcome_writes_nothing(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    late = bench.claim_one()
    bench.clock.advance(seconds=60)
    bench.carry_out_due()
    before, owed = bench.record(requested), bench.messages()

    settled = settling.settle(bench.app, [Outcome(late.record, error=errors.SourceNotFound("I saw nothing"))])

    assert settled == []
    assert bench.record(requested) == before
    assert bench.messages() == owed
    assert bench.user_messages() == []


def test_late_outcome_does_not_stop_the_other_outcomes(bench: Bench) -> None:
    bench.accept(bench.request(DAILY), bench.request(WEEKLY))
    lost, held = (Outcome(each.record, error=errors.SourceNotFound("gone")) for each in bench.claim())
    claims.release(bench.app, [lost.record])

    settled = settling.settle(bench.app, [lost, held])

    assert [record.id for record in settled] == [held.record.id]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("step", [Resolution, Outcome])
def test_ended_session_of_a_frozen_worker_does_not_settle_its_operation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: type[Resolution | Outcome]
) -> None:
    bench.change_rules(retry=Retry(1, timedelta(seconds=1), timedelta(seconds=1)))
    requested = bench.request()
    bench.accept(requested)
    answer = bench.unwritten_answer(step)

    freeze_once(monkeypatch, bench.app.db)
    with pytest.raises(sa.exc.DBAPIError):
        written(bench, answer)

    assert bench.record(requested).status is Status.CREATING
    assert len(written(bench, answer)) == 1


def written(bench: Bench, answer: Resolution | Outcome) -> Sequence[Record]:
    return (
        settling.resolve(bench.app, [answer])
        if isinstance(answer, Resolution)
        else settling.settle(bench.app, [answer])
    )


def freeze_once(monkeypatch: pytest.MonkeyPatch, db: Database) -> None:
    """Let the next writer stop within its transaction for longer than the database waits."""
    update = records.update

    def frozen(conn: sa.Connection, *arguments: Any) -> Any:
        monkeypatch.setattr(records, "update", update)
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
        session = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        until(lambda: not has_session(db, session), "the database to end the session")
        return update(conn, *arguments)

    monkeypatch.setattr(records, "update", frozen)


def has_session(db: Database, number: int) -> bool:
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :number")
    with db.read() as conn:
        return bool(conn.execute(query, {"number": number}).scalar_one())


@pytest.mark.parametrize("step", [Resolution, Outcome])
def test_operation_ends_in_error_if_the_database_refuses_its_values(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: type[Resolution | Outcome]
) -> None:
    requested = bench.request()
    bench.accept(requested)
    answer = bench.unwritten_answer(step)
    update = records.update

    def refuse_once(conn: sa.Connection, *arguments: Any) -> Any:
        monkeypatch.setattr(records, "update", update)
        raise sa.exc.IntegrityError("UPDATE snapshots", {}, ValueError("it must not be null"))

    monkeypatch.setattr(records, "update", refuse_once)
    written(bench, answer)

    assert fields(bench.record(requested), "reason_code", "claimed_by") == ["backend_error", None]


def test_reason_of_any_length_is_kept(bench: Bench) -> None:
    snapshot = bench.manage_snapshot("\N{CAMERA}" * 100_000)

    assert snapshot.status is Status.ERROR
    assert len(bench.user_messages()) == 1
