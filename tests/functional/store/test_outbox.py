"""The outbox: messages wait until they are due, and leave it once the bus has them."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from snapmanage.core.outbox import Kind, Message
from snapmanage.core.outbox import cast as cast_of
from snapmanage.store import outbox
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import NOW, SERVER, new_id
from tests.functional.databases import ON_SERVERS
from tests.functional.store.rows import SECOND, TEXTS, other_transaction


def message(**fields: Any) -> Message:
    return replace(cast_of(examples.snapshot(id=new_id())), **fields)


def post(database: Database, *posted: Message, due_at: datetime = NOW) -> None:
    database.write(lambda conn, now: outbox.add(conn, posted, now, due_at))


def due_messages(database: Database, now: datetime = NOW) -> dict[str, int]:
    """Return the due messages with the number of their sendings, like a relay."""
    with database.read() as conn:
        return {each.id: sends for each, sends in outbox.take(conn, now, 10)}


def test_message_is_read_as_it_was_written(database: Database) -> None:
    posted = message(priority="INFO", body={"name": TEXTS[0], "deep": [{"n": None}]})
    post(database, posted)

    with database.read() as conn:
        assert outbox.take(conn, NOW, 10) == [(posted, 0)]


def test_batch_of_messages_is_read_as_it_was_written(database: Database) -> None:
    posted = [message(body={"name": text}, priority=priority) for text in TEXTS for priority in (None, "ERROR")]
    post(database, *posted)

    with database.read() as conn:
        taken = [each for each, sends in outbox.take(conn, NOW, 100) if sends == 0]
    assert sorted(taken, key=lambda each: each.id) == sorted(posted, key=lambda each: each.id)


def test_batch_is_written_that_is_larger_than_a_statement_may_be(database: Database) -> None:
    large = [message(body={"text": "x" * 3 * 1024**2}) for _ in range(6)]  # MariaDB accepts 16 MiB
    post(database, *large)

    assert due_messages(database).keys() == {each.id for each in large}


def test_message_is_not_taken_before_it_is_due(database: Database) -> None:
    posted = message()
    post(database, posted, due_at=NOW + SECOND)

    assert due_messages(database) == {}
    assert due_messages(database, NOW + SECOND) == {posted.id: 0}


def test_postponed_message_keeps_the_number_of_its_sendings(database: Database) -> None:
    posted, other = message(), message()
    post(database, posted, other)

    for _ in range(2):
        database.write(lambda conn, _: outbox.postpone(conn, {posted.id: NOW + SECOND}))

    assert due_messages(database) == {other.id: 0}
    assert due_messages(database, NOW + SECOND) == {posted.id: 2, other.id: 0}


def test_deleted_message_is_not_taken_again(database: Database) -> None:
    posted, other = message(), message()
    post(database, posted, other)

    database.write(lambda conn, _: outbox.forget(conn, [posted.id, "never there"]))

    assert due_messages(database) == {other.id: 0}


def test_accepted_cast_is_deleted_and_other_messages_of_its_record_stay(database: Database) -> None:
    cast = message()
    unmanage = replace(cast, id=new_id(), name="unmanage_snapshot")
    notification = replace(cast, id=new_id(), kind=Kind.NOTIFICATION)
    post(database, cast, unmanage, notification, other := message())

    database.write(lambda conn, _: outbox.forget_casts(conn, [cast.record_id], "manage_snapshot"))

    assert set(due_messages(database)) == {unmanage.id, notification.id, other.id}


def test_casts_for_a_server_that_is_back_are_due_at_once(database: Database) -> None:
    waiting, fresh, other = message(), message(), message(target="storage-2@fast")
    later = NOW + timedelta(hours=1)
    post(database, waiting, fresh, other, due_at=later)
    database.write(lambda conn, _: outbox.postpone(conn, {waiting.id: later, other.id: later}))

    database.write(lambda conn, now: outbox.hurry_casts(conn, [SERVER], now))

    assert set(due_messages(database)) == {waiting.id}
    with database.read() as conn:
        assert outbox.waiting(conn) == 3


@ON_SERVERS
def test_message_that_another_relay_has_locked_is_not_taken(database: Database) -> None:
    post(database, *(message() for _ in range(4)))

    with other_transaction(database) as other, database.engine.connect() as conn, conn.begin():
        theirs = outbox.take(other, NOW, 2)
        mine = outbox.take(conn, NOW, 10)

    assert len(theirs) == 2
    assert not {each.id for each, _ in theirs} & {each.id for each, _ in mine}
