"""What arrives for a server, where the database itself refuses to keep it."""

import hashlib
import uuid
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from snapmanage.bus import Delivery, envelope
from snapmanage.bus.envelope import LARGEST_REQUEST
from snapmanage.cmd.manage.quarantine import send_again
from snapmanage.manage import acceptance
from snapmanage.manage.acceptance import Ask, Refusal
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Taker
from snapmanage.store.quarantine import LARGEST_KEPT, QuarantinedMessage
from snapmanage.testing.waiting import until
from tests.functional.volume.test_server import publish, quarantined, request, whole_request
from tests.functional.world import SERVER, World

ACCEPT = acceptance.accept


def test_request_that_the_database_refuses_is_put_aside_and_its_neighbours_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = world.known_volume()
    first, refused, last = unaccepted(world, volume, 3)

    def accept(app: Application, asks: Sequence[Ask], taker: Taker) -> list[Refusal]:
        if refused in [ask.record_id for ask in asks]:
            raise DataError("INSERT", None, ValueError("out of range"))
        return ACCEPT(app, asks, taker)

    monkeypatch.setattr(acceptance, "accept", accept)
    world.bus.deliver(SERVER, *(asked_for(each) for each in (first, refused, last)))

    assert world.settled(first)["status"] == world.settled(last)["status"] == "available"
    [kept] = quarantined(world)
    assert "out of range" in kept.reason


@pytest.mark.parametrize(
    "failure",
    [
        OperationalError("INSERT", None, ConnectionError("gone")),
        IntegrityError("INSERT", None, ValueError("duplicate entry")),
    ],
    ids=["the database is away", "somebody quicker has written it"],
)
def test_batch_whose_failure_says_nothing_of_it_comes_again_and_is_not_put_aside(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    volume = world.known_volume()
    [snapshot_id] = unaccepted(world, volume, 1)

    def fail(app: Application, asks: Sequence[Ask], taker: Taker) -> list[Refusal]:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(acceptance, "accept", fail)
        with pytest.raises(type(failure)):
            world.bus.deliver(SERVER, asked_for(snapshot_id))

    assert quarantined(world) == []
    world.bus.deliver(SERVER, asked_for(snapshot_id))
    assert world.settled(snapshot_id)["status"] == "available"


def test_message_of_any_size_is_put_aside_whole(world: World) -> None:
    body = envelope.request("manage_snapshot", {"snapshot_id": "x" * LARGEST_REQUEST}, {}, "large")

    publish(world, body)

    [kept] = quarantined(world)
    assert kept.body == body
    assert str(LARGEST_REQUEST) in kept.reason


def test_very_large_message_is_put_aside_in_part(world: World) -> None:
    body = b'"' * (LARGEST_KEPT + 1)

    publish(world, body)

    [kept] = quarantined(world)
    assert kept.body == body[:LARGEST_KEPT]
    assert hashlib.sha256(body).hexdigest() in kept.reason


def test_repeat_of_what_was_put_aside_is_kept_and_announced_once(world: World) -> None:
    body = request("manage_snapshot", snapshot_id="00000000-0000-4000-8000-000000000000")
    heard = world.overheard()

    publish(world, body, body)
    publish(world, body)

    assert len(quarantined(world)) == 1
    until(lambda: "snapshot.manage.error" in heard, "the error event")
    world.carried()
    assert heard == ["snapshot.manage.error"]


def test_message_that_can_not_be_understood_when_it_is_tried_again_stays_in_the_quarantine(world: World) -> None:
    publish(world, b"garbage")
    heard = world.overheard()

    assert not send_again(world.db, world.bus, QuarantinedMessage(**quarantined(world)[0]._mapping))

    [kept] = quarantined(world)
    assert kept.body == b"garbage"
    assert heard == []


def test_message_that_is_understood_when_it_is_tried_again_is_carried_out_and_forgotten(world: World) -> None:
    snapshot_id = str(uuid.uuid4())
    publish(world, request("unmanage_snapshot", snapshot_id=snapshot_id))
    publish(world, whole_request(snapshot_id=snapshot_id))
    world.trail(snapshot_id, "manage.end")

    assert send_again(world.db, world.bus, QuarantinedMessage(**quarantined(world)[0]._mapping))

    assert world.trail(snapshot_id, "unmanage.end")
    assert quarantined(world) == []


def unaccepted(world: World, volume: str, count: int) -> list[str]:
    """Snapshots that are asked for, whose casts don't go out: the bus is away from now on."""
    world.bus.away = True
    return [world.asked(volume, f"volume-1-snapshot-{number}") for number in range(1, count + 1)]


def asked_for(snapshot_id: str) -> Delivery:
    return Delivery("queue", request("manage_snapshot", snapshot_id=snapshot_id))
