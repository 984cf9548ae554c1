"""The quarantine keeps each message once, with its bytes."""

from typing import Any

import pytest

from snapmanage.store import quarantine
from snapmanage.store.engine.database import Database
from snapmanage.store.quarantine import LARGEST_KEPT, QuarantinedMessage
from snapmanage.testing.clock import FakeClock
from tests.examples import NOW, new_id


def quarantine_message(database: Database, body: bytes, reason: str, event_id: str | None = None) -> str | None:
    return database.write(lambda conn, now: quarantine.add(conn, "q", body, {"x-n": 1}, reason, now, event_id))


def only_quarantined(database: Database) -> QuarantinedMessage:
    """Return the only message in the quarantine."""
    with database.read() as conn:
        (row,) = quarantine.all_of(conn)
        found = quarantine.get(conn, row.id)
    assert found is not None
    return found


def test_quarantined_message_keeps_its_bytes(database: Database) -> None:
    body = bytes(range(256))

    known = quarantine_message(database, body, "why \N{CAMERA}")

    assert only_quarantined(database) == QuarantinedMessage(str(known), "q", body, {"x-n": 1}, "why \N{CAMERA}", NOW)


@pytest.mark.parametrize("beyond", [0, 1])
def test_message_at_the_limit_is_kept_whole_and_a_larger_one_in_part(database: Database, beyond: int) -> None:
    quarantine_message(database, b"x" * (LARGEST_KEPT + beyond), "why")

    kept = only_quarantined(database)
    assert (len(kept.body), kept.whole) == (LARGEST_KEPT, not beyond)


def test_reason_is_kept_in_printable_form(database: Database) -> None:
    quarantine_message(database, b"body", "a\0\n\x1b[2J\u202e\ud83d")

    assert only_quarantined(database).reason == r"a\x00\n\x1b[2J\u202e\ud83d"


@pytest.mark.parametrize("levels", [100, 950, 100_000])
def test_headers_that_are_nested_too_deep_are_left_out(database: Database, levels: int) -> None:
    deep: list[Any] = []
    for _ in range(levels):
        deep = [deep]
    headers = {"x-deep": deep, "x-n": 1}

    database.write(lambda conn, now: quarantine.add(conn, "q", b"body", headers, "why", now))

    assert only_quarantined(database).headers == {"x-n": 1}


def test_message_quarantined_again_is_kept_once_and_has_a_later_time_with_any_clock(
    database: Database, clock: FakeClock
) -> None:
    quarantine_message(database, b"body", "the first reason")

    assert quarantine_message(database, b"body", "the second reason") is None
    second = only_quarantined(database)
    clock.advance(hours=-1)
    quarantine_message(database, b"body", "the third reason")

    third = only_quarantined(database)
    assert NOW < second.received_at < third.received_at
    assert (second.reason, third.reason) == ("the second reason", "the third reason")


def test_message_quarantined_again_still_contradicts_the_audit_log(database: Database) -> None:
    event_id = new_id()
    quarantine_message(database, b"body", "it contradicts row 1", event_id)

    quarantine_message(database, b"body", "the database refused it")

    assert only_quarantined(database).event_id == event_id


def test_message_quarantined_again_is_not_deleted_by_its_earlier_retry(database: Database) -> None:
    quarantine_message(database, b"body", "the first reason")
    sent = only_quarantined(database)
    quarantine_message(database, b"body", "the second reason")

    assert not database.write(lambda conn, _: quarantine.drop_unless_back(conn, sent))

    back = only_quarantined(database)
    assert database.write(lambda conn, _: quarantine.drop_unless_back(conn, back))
    with database.read() as conn:
        assert quarantine.get(conn, sent.id) is None
