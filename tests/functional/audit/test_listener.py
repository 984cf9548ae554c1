"""The audit listener: it writes each event once, and no message stops the queue."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DataError, OperationalError

from snapmanage.audit import verification
from snapmanage.audit.listener import Listener
from snapmanage.bus import Delivery, envelope
from snapmanage.bus.envelope import LARGEST_EVENT, LARGEST_REQUEST
from snapmanage.bus.names import Names
from snapmanage.core import events, outbox
from snapmanage.core.audit.chain import Entry
from snapmanage.core.events import Event, Step
from snapmanage.store import audit as auditlog
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from tests import examples
from tests.examples import NOW, REQUESTER, new_id, sample_body

QUEUE = "notifications.info"


def event(step: Step = Step.START, **fields: Any) -> Event:
    return events.announce(examples.snapshot(**{"generation": 1} | fields), step, NOW)


def delivery(event: Event) -> Delivery:
    (message,) = outbox.notifications(event, REQUESTER, both_dialects=False)
    return Delivery(QUEUE, envelope.publications(message, Names(), NOW)[0].body)


def altered(event_type: str = "snapshot.manage.end", **payload: Any) -> Delivery:
    content = {"event_type": event_type, "payload": event().payload | payload}
    return Delivery(QUEUE, json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode())


def logged(database: Database) -> list[str]:
    return [entry.event_id for entry in verification.trail(database, 100)]


def quarantined(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(tables.quarantine)).scalar_one())


def test_repeated_event_is_written_once(database: Database) -> None:
    start, end = event(), event(Step.END, generation=2)
    listener = Listener(database)

    listener([delivery(start), delivery(start)])
    listener([delivery(end), delivery(start)])

    assert logged(database) == [start.payload["event_id"], end.payload["event_id"]]
    head, broken, gaps = verification.verify(database)
    assert (head.number, broken, gaps) == (2, None, [])


def test_events_of_other_services_are_ignored(database: Database) -> None:
    Listener(database)(
        [Delivery(QUEUE, sample_body(name)) for name in ("notification_delete_end", "notification_delete_start")]
    )

    assert logged(database) == []
    assert quarantined(database) == 0


@pytest.mark.parametrize(
    "odd",
    [
        Delivery(QUEUE, b"\xff"),
        altered(generation="seven"),
        altered(generation=None),
        altered(generation=True),
        altered(generation=-1),
        altered(generation=2**31),
        altered(event_id=None),
        altered(event_id={}),
        altered(event_id="e" * 36),
        altered(snapshot_id=[7]),
        altered(snapshot_id="{" + new_id() + "}"),
        altered("snapshot.manage." + "x" * 255),
        altered("snapshot.manage.\0"),
        altered("snapshot.manage.\ud83d"),
        altered(metadata=json.loads("[" * 100 + "]" * 100)),
    ],
)
def test_invalid_event_is_quarantined_and_the_others_are_written(database: Database, odd: Delivery) -> None:
    good = event()

    Listener(database)([odd, delivery(good)])

    assert logged(database) == [good.payload["event_id"]]
    assert quarantined(database) == 1


def test_too_large_event_is_quarantined_and_the_others_are_written(database: Database) -> None:
    good, large = event(), altered(event_id=new_id(), metadata={"a": "x" * LARGEST_EVENT})

    Listener(database)([large, delivery(good)])

    assert logged(database) == [good.payload["event_id"]]
    assert quarantined(database) == 1


def test_event_of_the_largest_request_is_written(database: Database) -> None:
    said = event(metadata={"a": "ö" * (LARGEST_REQUEST // len("ö".encode()))})

    Listener(database)([delivery(said)])

    assert logged(database) == [said.payload["event_id"]]


def test_event_that_the_database_refuses_is_quarantined_and_the_others_are_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, refused, last = (event(generation=generation) for generation in (2, 3, 4))
    monkeypatch.setattr(auditlog, "append", failing(refused, DataError("INSERT", None, ValueError("out of range"))))

    Listener(database)([delivery(each) for each in (first, refused, last)])

    assert logged(database) == [first.payload["event_id"], last.payload["event_id"]]
    assert verification.verify(database)[1] is None
    assert quarantined(database) == 1


def test_events_are_redelivered_while_the_database_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = event()

    with monkeypatch.context() as patch:
        patch.setattr(auditlog, "append", failing(kept, OperationalError("INSERT", None, ConnectionError("gone"))))
        with pytest.raises(OperationalError):
            Listener(database)([delivery(kept)])
    Listener(database)([delivery(kept)])

    assert logged(database) == [kept.payload["event_id"]]
    assert quarantined(database) == 0


def failing(refused: Event, error: Exception) -> Callable[[sa.Connection, Sequence[Entry]], None]:
    """Return an `auditlog.append` that fails at one event."""
    append = auditlog.append

    def fail(conn: sa.Connection, entries: Sequence[Entry]) -> None:
        if refused.payload["event_id"] in [entry.event_id for entry in entries]:
            raise error
        append(conn, entries)

    return fail


def test_start_without_an_end_is_reported_as_a_gap(database: Database) -> None:
    Listener(database)([delivery(event())])

    _, _, gaps = verification.verify(database)

    assert [gap.reason for gap in gaps] == ["snapshot.manage.start (1) has no ending"]


def test_events_of_an_older_release_are_checked_by_the_generation_that_they_name(database: Database) -> None:
    start = altered("snapshot.manage.start", event_id=new_id(), generation=2, previous_generation=None)
    end = altered("snapshot.manage.end", event_id=new_id(), generation=5, previous_generation=2)
    Listener(database)([start, end, delivery(event(generation=6)), delivery(event(Step.END, generation=8))])

    _, _, gaps = verification.verify(database)

    assert [gap.reason for gap in gaps] == ["generation 7 is missing before snapshot.manage.end (8)"]


def test_changed_row_is_detected(database: Database) -> None:
    Listener(database)([delivery(event(generation=generation)) for generation in (2, 3, 4)])
    with database.engine.begin() as conn:
        conn.execute(sa.update(tables.audit).where(tables.audit.c.number == 2).values(event_type="snapshot.manage.end"))

    _, broken, _ = verification.verify(database)

    assert broken == "row 2 was changed"
