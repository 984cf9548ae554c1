"""The audit listener: it writes each event once, and no message stops the queue."""

import json
from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DataError, OperationalError

from snapmanage import errors
from snapmanage.audit.listener import Listener
from snapmanage.bus import Delivery
from snapmanage.bus.envelope import LARGEST_EVENT, LARGEST_REQUEST
from snapmanage.core.audit.chain import Entry
from snapmanage.core.audit.payloads import MOST_VALUES
from snapmanage.core.events import Event, Step
from snapmanage.core.values.text import DEEPEST_EVENT, LONGEST_REASON, walk
from snapmanage.store.audit import log
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables
from tests.examples import new_id, sample_body
from tests.functional.audit.messages import QUEUE, altered, delivery, event, logged, quarantined, raw


def test_repeated_event_is_written_once(database: Database) -> None:
    start, end = event(), event(Step.END, generation=2)
    listener = Listener(database)

    listener([delivery(start), delivery(start)])
    listener([delivery(end), delivery(start)])

    assert logged(database) == [start.payload["event_id"], end.payload["event_id"]]
    assert quarantined(database) == []


def test_reason_of_a_hostile_event_is_printable(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    hostile = altered("snapshot.manage.\x1b[2J\u202e\x9b", generation=None)

    Listener(database)([hostile])

    with database.read() as conn:
        [reason] = conn.execute(sa.select(tables.quarantine.c.reason)).scalars()
    assert reason.isprintable()
    assert [line for line in caplog.messages if not line.isprintable()] == []


def test_events_of_other_services_are_ignored(database: Database) -> None:
    Listener(database)(
        [Delivery(QUEUE, sample_body(name)) for name in ("notification_delete_end", "notification_delete_start")]
    )

    assert logged(database) == []
    assert quarantined(database) == []


@pytest.mark.parametrize(
    "odd",
    [
        Delivery(QUEUE, b"\xff"),
        altered(generation="seven"),
        altered(generation=None),
        altered(generation=True),
        altered(generation=-1),
        altered(generation=2**31),
        altered(generation=7, event_id=event().payload["event_id"]),
        altered(snapshot_id=new_id(), event_id=event().payload["event_id"]),
        altered(event_id=new_id()),
        altered(event_id=None),
        altered(event_id={}),
        altered(event_id="e" * 36),
        altered(snapshot_id=[7]),
        altered(snapshot_id="{" + new_id() + "}"),
        altered("snapshot.manage." + "x" * 255),
        altered("snapshot.manage.\x1b[2J"),
        altered("snapshot.manage.\0"),
        altered("snapshot.manage.\ud83d"),
        altered(metadata=json.loads("[" * 100 + "]" * 100)),
        altered(occurred_at=None),
        altered(status={}),
        altered(attempt="1"),
        altered(reason="a text"),
        altered(reason={"code": ["x"], "text": "a text"}),
        altered(reason={"code": "x", "text": "x" * (LONGEST_REASON + 2)}),
        altered("snapshot.manage.end", generation=0, event_id=new_id(), status="available"),
        altered("snapshot.manage.error", generation=0, event_id=new_id(), status="available"),
        altered(size_gb=float("nan")),
        altered(size_gb=float("inf")),
        Delivery(QUEUE, raw(1).body.replace(b"1", b"1e400")),
    ],
)
def test_invalid_event_is_quarantined_and_the_others_are_written(database: Database, odd: Delivery) -> None:
    good = event()

    Listener(database)([odd, delivery(good)])

    assert logged(database) == [good.payload["event_id"]]
    assert len(quarantined(database)) == 1


def test_many_invalid_events_are_quarantined_in_one_transaction(database: Database) -> None:
    listener, commits = Listener(database), list[object]()
    sa.event.listen(database.engine, "commit", commits.append)

    listener([Delivery(QUEUE, b"odd %d" % number) for number in range(20)])

    assert len(commits) == 1
    assert len(quarantined(database)) == 20


def test_too_large_event_is_quarantined_and_the_others_are_written(database: Database) -> None:
    good, large = event(), altered(generation=2, metadata={"a": "x" * LARGEST_EVENT})

    Listener(database)([large, delivery(good)])

    assert logged(database) == [good.payload["event_id"]]
    assert len(quarantined(database)) == 1


@pytest.mark.parametrize("beyond", [0, 1])
def test_event_has_at_most_four_mebibytes(database: Database, beyond: int) -> None:
    rest = LARGEST_EVENT + beyond - len(altered(metadata={"a": ""}).body)

    Listener(database)([altered(metadata={"a": "x" * rest})])

    assert (len(logged(database)), len(quarantined(database))) == (1 - beyond, beyond)


@pytest.mark.parametrize("beyond", [0, 1])
def test_payload_of_an_event_has_at_most_64_levels(database: Database, beyond: int) -> None:
    lists = DEEPEST_EVENT + beyond  # an empty one inside of the others, and all inside of the payload

    Listener(database)([altered(metadata=json.loads("[" * lists + "]" * lists))])

    assert (len(logged(database)), len(quarantined(database))) == (1 - beyond, beyond)


@pytest.mark.parametrize("beyond", [0, 1])
def test_payload_of_an_event_has_at_most_50_000_values(database: Database, beyond: int) -> None:
    others = sum(1 for _ in walk(event(metadata={"a": []}).payload))  # with the list, which counts as one value

    Listener(database)([altered(metadata={"a": [0] * (MOST_VALUES - others + beyond)})])

    assert (len(logged(database)), len(quarantined(database))) == (1 - beyond, beyond)


def test_event_of_the_largest_request_is_written(database: Database) -> None:
    said = event(metadata={"a": "ö" * (LARGEST_REQUEST // len("ö".encode()))})

    Listener(database)([delivery(said)])

    assert logged(database) == [said.payload["event_id"]]


def test_event_that_the_database_refuses_is_quarantined_and_the_others_are_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, refused, last = (event(generation=generation) for generation in (2, 3, 4))
    monkeypatch.setattr(log, "append", failing(refused, DataError("INSERT", None, ValueError("out of range"))))

    Listener(database)([delivery(each) for each in (first, refused, last)])

    assert logged(database) == [first.payload["event_id"], last.payload["event_id"]]
    assert len(quarantined(database)) == 1


def test_events_are_redelivered_while_the_database_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = event()

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", failing(kept, OperationalError("INSERT", None, ConnectionError("gone"))))
        with pytest.raises(OperationalError):
            Listener(database)([delivery(kept)])
    Listener(database)([delivery(kept)])

    assert logged(database) == [kept.payload["event_id"]]
    assert quarantined(database) == []


def failing(refused: Event, error: Exception) -> Callable[[sa.Connection, Sequence[Entry]], None]:
    """Return an `log.append` that fails at one event."""
    append = log.append

    def fail(conn: sa.Connection, entries: Sequence[Entry]) -> None:
        if refused.payload["event_id"] in [entry.event_id for entry in entries]:
            raise error
        append(conn, entries)

    return fail


def test_events_wait_while_the_head_is_missing(database: Database) -> None:
    kept = event()
    with database.engine.begin() as conn:
        conn.execute(tables.audit_head.delete())

    with pytest.raises(errors.Unavailable, match="audit_head is missing"):
        Listener(database)([delivery(kept)])

    assert logged(database) == []
    assert quarantined(database) == []
