"""Failed steps are retried, and end in error after the last attempt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from snapmanage import errors
from snapmanage.core.records import Volume
from snapmanage.manage import settling
from snapmanage.store import records
from snapmanage.testing.waiting import until
from tests.functional.client import SERVER
from tests.functional.volume.helpers import OTHERS, SNAPSHOT, CountingDriver, snapshot_names
from tests.functional.world import RULES, VOLUME, World, running_world


def test_transient_failure_is_retried_after_its_delay(world: World) -> None:
    volume = world.register_volume()
    world.driver.go_away()
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    world.await_failed_attempt(snapshot_id, attempt=1)

    world.fail_at({})
    world.clock.advance(minutes=2)

    assert world.await_settled(snapshot_id)["status"] == "available"
    operation = world.client.operation(snapshot_id)
    assert (operation["attempt"], operation["reason"]) == (2, None)
    assert world.audited_events(snapshot_id, ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_failed_operation_is_not_retried_before_its_delay_is_over(world: World) -> None:
    volume = world.register_volume()
    world.driver.go_away()
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    before = world.await_failed_attempt(snapshot_id, attempt=1)
    world.fail_at({})

    world.manage_snapshot(volume, OTHERS[0])
    world.manage_snapshot(volume, OTHERS[1])

    assert world.record(snapshot_id) == before


def test_lasting_failure_ends_in_error_after_the_last_attempt(world: World) -> None:
    volume = world.register_volume()
    world.driver.go_away()
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    for attempt in range(1, RULES.retry.max_attempts):
        world.await_failed_attempt(snapshot_id, attempt)
        world.clock.advance(minutes=2)

    assert world.await_settled(snapshot_id)["status"] == "error"
    operation = world.client.operation(snapshot_id)
    assert (operation["attempt"], operation["reason_code"]) == (RULES.retry.max_attempts, "backend_unavailable")
    assert world.audited_events(snapshot_id, ".error") == ["snapshot.manage.start", "snapshot.manage.error"]


def test_rename_whose_answer_was_lost_is_recognised_at_the_next_attempt(tmp_path: Path) -> None:
    driver = CountingDriver()
    with running_world(tmp_path, {SERVER: driver}) as world:
        volume = world.register_volume()
        world.fail_at({"renamed": errors.BackendUnavailable("the answer was lost")})
        snapshot_id = world.request_manage(volume, SNAPSHOT)

        assert world.await_settled(snapshot_id)["status"] == "available"
        assert driver.renames == []
        assert f"snapshot-{snapshot_id}" in snapshot_names(world)


@pytest.mark.parametrize("step", ["resolve", "settle"])
def test_outcome_is_written_once_the_database_is_back(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    volume, write = world.register_volume(), getattr(settling, step)
    failures = [OperationalError("UPDATE", None, ConnectionError("gone"))]

    def away_at_first(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return write(*arguments)

    monkeypatch.setattr(settling, step, away_at_first)

    assert world.await_settled(world.request_manage(volume, SNAPSHOT))["status"] == "available"
    assert failures == []


def test_unexpected_exception_of_a_driver_is_retried(world: World) -> None:
    volume = world.register_volume()
    world.fail_at({"find": ZeroDivisionError("details")})
    snapshot_id = world.request_manage(volume, SNAPSHOT)

    failed = world.await_failed_attempt(snapshot_id, attempt=1)

    assert failed.reason_code == "backend_error"
    assert "details" not in (failed.reason or "")
    world.fail_at({})
    world.clock.advance(minutes=2)
    assert world.await_settled(snapshot_id)["status"] == "available"


def test_driver_that_returns_none_delays_no_other_operation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = world.register_volume()
    monkeypatch.setattr(world.driver, "manage_snapshot", lambda binding: None)
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    world.await_failed_attempt(snapshot_id, attempt=1)
    monkeypatch.undo()

    assert world.manage_snapshot(volume, OTHERS[0])
    world.clock.advance(minutes=1)
    assert world.await_settled(snapshot_id)["status"] == "available"


@pytest.mark.parametrize("step", ["find_snapshot", "manage_snapshot"])
@pytest.mark.parametrize("answer", [{"size_bytes": None}, {"identity": None}, {"name": None}], ids=str)
def test_driver_that_breaks_its_protocol_delays_no_other_operation(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str, answer: dict[str, Any]
) -> None:
    volume, honest = world.register_volume(), getattr(world.driver, step)
    monkeypatch.setattr(world.driver, step, lambda *arguments: replace(honest(*arguments), **answer))
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    assert world.await_failed_attempt(snapshot_id, attempt=1).reason_code == "backend_error"
    monkeypatch.undo()

    assert world.manage_snapshot(volume, OTHERS[0])
    world.clock.advance(minutes=1)
    assert world.await_settled(snapshot_id)["status"] == "available"


def test_volume_is_looked_up_again_after_a_failure(world: World) -> None:
    world.driver.go_away()
    volume = world.client.manage_volume(VOLUME).json()["volume"]["id"]

    def has_failed_once() -> bool:
        with world.db.read() as conn:
            [record] = records.get_many(conn, Volume, [volume])
        return record.attempt == 1 and record.claimed_by is None

    until(has_failed_once, "the first attempt to fail")
    world.fail_at({})
    world.clock.advance(minutes=2)
    until(lambda: world.client.volume(volume)["status"] == "available", "the volume to be available")
