"""Large messages cost no more than their bytes: their size is checked before they are parsed."""

import json
import tracemalloc
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from snapmanage.audit.listener import LARGEST_READ, Listener
from snapmanage.bus import Delivery, envelope
from snapmanage.bus.envelope import LARGEST_EVENT, LARGEST_REQUEST
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.mapping import tables
from snapmanage.volume.arguments import LARGEST_METADATA
from tests.functional.audit.messages import altered
from tests.functional.client import SERVER
from tests.functional.volume.helpers import quarantined, upstream_request
from tests.functional.world import World

QUEUE = "notifications.info"
KIBIBYTE = 1024
MEBIBYTE = 1024**2
# A message of 15 MiB takes twenty times as much when it is parsed.
ALLOWED_BYTES = 16 * MEBIBYTE


def filled(size: int, **content: object) -> bytes:
    """Return a notification of about `size` bytes, of which most are a list of empty objects."""
    text = json.dumps({**content, "payload": {"rest": "REST"}})
    whole = json.dumps({"oslo.version": "2.0", "oslo.message": text}).encode()
    rest = b"[" + b"{}," * ((size - len(whole)) // 3) + b"{}]"
    return whole.replace(b'\\"REST\\"', rest)


FOREIGN = filled(15 * MEBIBYTE, event_type="compute.instance.update")


def peak_bytes(act: Callable[[], object]) -> int:
    """Return the memory that an action takes at most, without the memory before it."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def kept(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(tables.quarantine)).scalar_one())


def test_foreign_notification_is_ignored_unread(database: Database) -> None:
    listener = Listener(database)

    taken = peak_bytes(lambda: listener([Delivery(QUEUE, FOREIGN)] * 5))

    assert taken < MEBIBYTE
    assert kept(database) == 0


@pytest.mark.parametrize("event_type", ["snapshot.manage.end", "snapshot.unmanage.start"])
def test_notification_of_ours_that_is_too_large_is_quarantined_unread(database: Database, event_type: str) -> None:
    listener, large = Listener(database), Delivery(QUEUE, filled(15 * MEBIBYTE, event_type=event_type))

    taken = peak_bytes(lambda: listener([large]))

    assert taken < 4 * ALLOWED_BYTES  # PyMySQL copies the kept part several times
    assert kept(database) == 1


def test_small_repeats_of_large_events_take_the_memory_of_one(database: Database) -> None:
    listener, count = Listener(database), 10
    for generation in range(1, count + 1):
        letters = "\N{LATIN SMALL LETTER E WITH ACUTE}" * (2 * MEBIBYTE - KIBIBYTE)  # two bytes each, kept as six
        large = altered(generation=generation, metadata={"large": "LETTERS"})
        listener([Delivery(QUEUE, large.body.replace(b"LETTERS", letters.encode()))])

    taken = peak_bytes(lambda: listener([altered(generation=each) for each in range(1, count + 1)]))

    assert taken < count * 6 * MEBIBYTE
    assert kept(database) == count


@pytest.mark.parametrize("size", [LARGEST_READ, LARGEST_READ + 1])
def test_message_that_is_no_envelope_is_quarantined_if_it_is_small(size: int) -> None:
    database = connect("sqlite://")
    tables.metadata.create_all(database.engine)

    Listener(database)([Delivery(QUEUE, b"x" * size)])

    assert kept(database) == (size <= LARGEST_READ)
    database.close()


@pytest.mark.parametrize("size", [LARGEST_EVENT + 100, 15 * MEBIBYTE])
def test_request_that_is_larger_than_any_event_is_quarantined_unread(world: World, size: int) -> None:
    large = Delivery("some-queue", filled(size, method="manage_snapshot"))

    taken = peak_bytes(lambda: world.bus.deliver(SERVER, large))

    assert taken < ALLOWED_BYTES
    [entry] = quarantined(world)
    assert str(LARGEST_REQUEST) in entry.reason


@pytest.mark.parametrize("beyond", [0, 1])
def test_request_at_the_limit_is_carried_out_and_a_larger_one_is_quarantined(world: World, beyond: int) -> None:
    body = upstream_request().ljust(LARGEST_REQUEST + beyond)  # JSON may end with blanks

    world.bus.deliver(SERVER, Delivery("some-queue", body))

    assert len(quarantined(world)) == beyond


def test_request_with_very_many_brackets_in_its_texts_ends_with_its_events(world: World) -> None:
    arguments = json.loads(json.loads(upstream_request())["oslo.message"])["args"]
    arguments["metadata"] = {"odd": "[" * (LARGEST_METADATA - len("odd"))}

    world.bus.deliver(SERVER, Delivery("some-queue", envelope.request("manage_snapshot", arguments, {}, "odd")))

    assert quarantined(world) == []
    assert "snapshot.manage.end" in world.audited_events(arguments["snapshot_id"], ".end")


def test_request_that_is_slow_to_parse_ends_with_an_error_event(world: World) -> None:
    snapshot_id = "00000000-0000-4000-8000-000000000000"
    arguments = {"snapshot_id": snapshot_id, "ref": {"a": [[]] * (LARGEST_REQUEST // 5)}}

    world.bus.deliver(SERVER, Delivery("some-queue", envelope.request("manage_snapshot", arguments, {}, "slow")))

    assert world.audited_events(snapshot_id, ".error") == ["snapshot.manage.error"]
    [entry] = quarantined(world)
    assert "brackets" in entry.reason


@pytest.mark.parametrize("size", [LARGEST_REQUEST, LARGEST_EVENT, 15 * MEBIBYTE])
def test_request_above_its_limit_ends_with_an_error_event(world: World, size: int) -> None:
    snapshot_id = "00000000-0000-4000-8000-000000000000"
    arguments = {"name": '"snapshot_id": "other"' + "x" * size, "snapshot_id": snapshot_id}

    world.bus.deliver(SERVER, Delivery("some-queue", envelope.request("manage_snapshot", arguments, {}, "large")))

    assert world.audited_events(snapshot_id, ".error") == ["snapshot.manage.error"]
