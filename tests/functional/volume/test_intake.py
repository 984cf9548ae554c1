"""Messages that the intake or the database refuses."""

import hashlib
import uuid
from collections.abc import Collection, Sequence

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from snapmanage.bus import Delivery, envelope
from snapmanage.bus.envelope import LARGEST_REQUEST
from snapmanage.core.records import Record
from snapmanage.manage.maintenance.quarantine import retry
from snapmanage.store import records
from snapmanage.store.quarantine import LARGEST_KEPT, QuarantinedMessage
from snapmanage.testing.waiting import until
from tests.functional.client import SERVER
from tests.functional.volume.helpers import publish, quarantined, request, upstream_request
from tests.functional.world import World

LOCK_MANY = records.lock_many


def test_request_that_the_database_refuses_is_quarantined_and_the_others_are_carried_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = world.register_volume()
    first, refused, last = unaccepted(world, volume, 3)

    def lock_many(conn: Connection, kind: type[Record], record_ids: Collection[str]) -> Sequence[Record]:
        if refused in record_ids:
            raise DataError("SELECT", None, ValueError("out of range"))
        return LOCK_MANY(conn, kind, record_ids)

    monkeypatch.setattr(records, "lock_many", lock_many)
    world.bus.deliver(SERVER, *(request_of(each) for each in (first, refused, last)))

    assert world.await_settled(first)["status"] == world.await_settled(last)["status"] == "available"
    [kept] = quarantined(world)
    assert "out of range" in kept.reason


@pytest.mark.parametrize(
    "failure",
    [
        OperationalError("INSERT", None, ConnectionError("gone")),
        IntegrityError("INSERT", None, ValueError("duplicate entry")),
    ],
    ids=["the database is away", "another process was quicker"],
)
def test_batch_that_a_retry_may_save_is_redelivered_and_not_quarantined(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    volume = world.register_volume()
    [snapshot_id] = unaccepted(world, volume, 1)

    def fail(*arguments: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(records, "lock_many", fail)
        with pytest.raises(type(failure)):
            world.bus.deliver(SERVER, request_of(snapshot_id))

    assert quarantined(world) == []
    world.bus.deliver(SERVER, request_of(snapshot_id))
    assert world.await_settled(snapshot_id)["status"] == "available"


def test_message_larger_than_a_request_is_quarantined_whole(world: World) -> None:
    body = envelope.request("manage_snapshot", {"snapshot_id": "x" * LARGEST_REQUEST}, {}, "large")

    publish(world, body)

    [kept] = quarantined(world)
    assert kept.body == body
    assert str(LARGEST_REQUEST) in kept.reason


def test_very_large_message_is_quarantined_in_part(world: World) -> None:
    body = b'"' * (LARGEST_KEPT + 1)

    publish(world, body)

    [kept] = quarantined(world)
    assert kept.body == body[:LARGEST_KEPT]
    assert hashlib.sha256(body).hexdigest() in kept.reason


def test_repeat_of_a_quarantined_message_is_kept_and_announced_once(world: World) -> None:
    body = request("manage_snapshot", snapshot_id="00000000-0000-4000-8000-000000000000")
    events = world.record_events()

    publish(world, body, body)
    publish(world, body)

    assert len(quarantined(world)) == 1
    until(lambda: "snapshot.manage.error" in events, "the error event")
    world.await_empty_outbox()
    assert events == ["snapshot.manage.error"]


def test_message_that_is_invalid_again_when_it_is_resent_stays_in_the_quarantine(world: World) -> None:
    publish(world, b"garbage")
    events = world.record_events()

    assert not retry(world.db, world.bus, QuarantinedMessage(**quarantined(world)[0]._mapping))

    [kept] = quarantined(world)
    assert kept.body == b"garbage"
    assert events == []


def test_message_that_is_valid_when_it_is_resent_is_carried_out_and_leaves_the_quarantine(world: World) -> None:
    snapshot_id = str(uuid.uuid4())
    publish(world, request("unmanage_snapshot", snapshot_id=snapshot_id))
    publish(world, upstream_request(snapshot_id=snapshot_id))
    world.audited_events(snapshot_id, "manage.end")

    assert retry(world.db, world.bus, QuarantinedMessage(**quarantined(world)[0]._mapping))

    assert world.audited_events(snapshot_id, "unmanage.end")
    assert quarantined(world) == []


def unaccepted(world: World, volume: str, count: int) -> list[str]:
    """Request snapshots whose casts aren't sent, since the bus is away from now on; return their ids."""
    world.bus.away = True
    return [world.request_manage(volume, f"volume-1-snapshot-{number}") for number in range(1, count + 1)]


def request_of(snapshot_id: str) -> Delivery:
    return Delivery("queue", request("manage_snapshot", snapshot_id=snapshot_id))
