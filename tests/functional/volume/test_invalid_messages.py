"""Invalid messages are quarantined."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.bus import Delivery, envelope
from snapmanage.core.reference import MOST_VALUES
from snapmanage.volume.arguments import LARGEST_METADATA, MOST_PAIRS
from tests.examples import sample_body
from tests.functional.client import SERVER
from tests.functional.volume.helpers import OTHERS, SNAPSHOT, publish, quarantined, request, upstream_request
from tests.functional.world import World

BAD = {
    "no envelope": b"\x00garbage",
    "no object": json.dumps({"oslo.version": "2.0", "oslo.message": "[]"}).encode(),
    "another envelope": json.dumps({"oslo.version": "9.0", "oslo.message": "{}"}).encode(),
    "unknown method": request("destroy_everything"),
    "a private method": request("__init__"),
    "a missing argument": request("manage_snapshot"),
    "a surplus argument": request("manage_snapshot", snapshot_id=str(uuid.UUID(int=5)), force=True),
    "no uuid": request("manage_snapshot", snapshot_id="daily"),
    "no object at all": request("manage_existing_snapshot", "3.0", snapshot=5, ref="x"),
    "an object of another kind": sample_body("cast_manage_existing_snapshot").replace(b'Snapshot\\"', b'Backup\\"'),
    "half a version": request("manage_snapshot", "1", snapshot_id=str(uuid.UUID(int=5))),
    "a newer major version": request("manage_snapshot", "2.0", snapshot_id=str(uuid.UUID(int=5))),
    "half a surrogate in an argument's name": request("manage_snapshot", **{"\ud800": "1"}),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_invalid_message_is_quarantined_and_the_others_are_carried_out(world: World, body: bytes) -> None:
    volume = world.register_volume()
    world.bus.away = True
    first, second = world.request_manage(volume, SNAPSHOT), world.request_manage(volume, OTHERS[0])
    world.bus.away = False

    publish(world, request("manage_snapshot", snapshot_id=first), body, request("manage_snapshot", snapshot_id=second))

    assert world.await_settled(first)["status"] == world.await_settled(second)["status"] == "available"
    [kept] = quarantined(world)
    assert kept.body == body
    assert kept.reason


HOSTILE = "\x1b]0;title\x07\u202e\r\x9b\u2028"


@pytest.mark.parametrize(
    "body",
    [
        request(HOSTILE),
        request("manage_snapshot", **{HOSTILE: "1"}),
        request("manage_snapshot", HOSTILE),
        request("manage_snapshot", snapshot_id=HOSTILE),
    ],
    ids=["method", "argument", "version", "id"],
)
def test_reason_of_a_hostile_message_is_printable_and_its_bytes_are_exact(
    world: World, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    publish(world, body)

    [kept] = quarantined(world)
    assert kept.reason.isprintable()
    assert kept.body == body
    assert [line for line in caplog.messages if not line.isprintable()] == []


def test_headers_of_a_quarantined_message_are_kept_with_values_of_any_type(world: World) -> None:
    headers: dict[Any, Any] = {
        "x-death": [{"time": datetime(2026, 1, 1, tzinfo=UTC), "reason": "expired"}],
        "raw": b"\xff",
        b"\xff": "name",
    }

    world.bus.deliver(SERVER, Delivery("some-queue", b"garbage", headers))

    [kept] = quarantined(world)
    assert kept.headers["x-death"] == [{"time": "2026-01-01 00:00:00+00:00", "reason": "expired"}]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "x" * 256},
        {"name": 5},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"description": "\udfff"},
        {"project_id": 5},
        {"project_id": "\0"},
        {"project_id": "p" * 256},
        {"user_id": 5},
        {"user_id": "\ud800"},
        {"metadata": {"a": 1}},
        {"metadata": dict.fromkeys(map(str, range(MOST_PAIRS + 1)), "")},
        {"metadata": {"k": "x" * LARGEST_METADATA}},
        {"metadata": "text"},
        {"metadata": {"k": "\ud800"}},
        {"metadata": {"a\0b": "v"}},
        {"ref": {}},
        {"ref": {"a": float("nan")}},
        {"ref": {"a": [[]] * MOST_VALUES}},
        {"ref": json.loads('{"a":' * 40 + "1" + "}" * 40)},
        {"ref": json.loads('{"a":' + "[" * 400 + "]" * 400 + "}")},
        {"volume_id": "disk"},
    ],
)
def test_request_that_can_not_be_stored_ends_with_an_error_event(world: World, arguments: dict[str, Any]) -> None:
    publish(world, upstream_request(**arguments))

    snapshot_id = str(uuid.UUID(int=5))
    assert world.audited_events(snapshot_id, ".error") == ["snapshot.manage.error"]
    assert len(quarantined(world)) == 1
    assert world.client.get(f"snapshots/{snapshot_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "event"),
    [("manage_snapshot", "snapshot.manage.error"), ("unmanage_snapshot", "snapshot.unmanage.error")],
)
def test_cast_for_an_unknown_snapshot_without_its_record_ends_with_an_error_event(
    world: World, method: str, event: str
) -> None:
    snapshot_id = str(uuid.uuid4())

    publish(world, request(method, snapshot_id=snapshot_id))

    assert world.audited_events(snapshot_id, ".error") == [event]
    assert len(quarantined(world)) == 1


def test_many_invalid_messages_are_quarantined_in_one_transaction(world: World) -> None:
    transactions = set[object]()

    def listen(conn: sa.Connection, cursor: object, statement: str, *more: object) -> None:
        if statement.startswith("INSERT INTO quarantine"):
            transactions.add(conn.get_transaction())

    sa.event.listen(world.db.engine, "before_cursor_execute", listen)
    publish(world, *(b"odd %d" % number for number in range(20)))

    assert len(transactions) == 1
    assert len(quarantined(world)) == 20


def test_two_different_casts_for_one_unknown_snapshot_in_one_batch_are_both_quarantined(world: World) -> None:
    snapshot_id = str(uuid.uuid4())
    bodies = [request(method, snapshot_id=snapshot_id) for method in ("manage_snapshot", "unmanage_snapshot")]

    publish(world, *bodies)

    assert {kept.body for kept in quarantined(world)} == set(bodies)
    world.await_empty_outbox()
    assert set(world.audited_events(snapshot_id)) == {"snapshot.manage.error", "snapshot.unmanage.error"}


def test_invalid_call_is_answered_with_the_error(world: World) -> None:
    with pytest.raises(errors.InvalidRequest, match="can't be understood"):
        world.bus.call(SERVER, "get_manageable_snapshots", {"colour": "green"}, {})


def test_answer_that_its_caller_would_ignore_for_its_size_is_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "LARGEST_REPLY", 100)

    with pytest.raises(errors.InvalidRequest, match="the limit is 100; request a shorter list with `limit`"):
        world.bus.call(SERVER, "get_manageable_snapshots", {}, {})
