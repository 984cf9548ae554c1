"""The rows of the database, and its guarantees to concurrent writers."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, StatementError

from snapmanage import errors
from snapmanage.core import audit as ledger
from snapmanage.core import lifecycle
from snapmanage.core.backend import GIB, BackendSnapshot
from snapmanage.core.change import Change
from snapmanage.core.idempotency import KeyUse
from snapmanage.core.lists.manageable import Owned
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.outbox import Kind, Message
from snapmanage.core.outbox import cast as cast_of
from snapmanage.core.quotas import Amount, ProjectQuota
from snapmanage.core.records import Operation, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.services import Service
from snapmanage.core.usermessages import UserMessage
from snapmanage.core.values.location import Location
from snapmanage.store import audit as auditlog
from snapmanage.store import idempotency, outbox, ownership, quarantine, quotas, records, services, usermessages
from snapmanage.store.engine import database as transactions
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect, database_clock, passes
from snapmanage.store.mapping import tables
from snapmanage.store.quarantine import QuarantinedMessage
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from tests import examples
from tests.examples import ASKED, LEASE, NOW, PROJECT, RETRY, SERVER, new_id

SECOND = timedelta(seconds=1)
# An emoji of several code points, combining marks, right to left, the last code point, and quotes.
TEXTS = [
    "\U0001f469\u200d\U0001f680",
    "Z\u0351\u036b\u0343e\u0301",
    "\u0627\u0644\u0644\u0642\u0637\u0629 \u202eabc",
    "\U0010ffff",
    '\'; DROP TABLE snapshots; -- "%s" \\ \n\t',
    "\\'; \\\\' \x1a \r \\",
]


def insert(database: Database, *made: Any) -> None:
    def work(conn: Connection, _: datetime) -> None:
        for record in made:
            records.insert(conn, record)

    database.write(work)


def update(database: Database, *changes: Change[Any]) -> list[Change[Any]]:
    return database.write(lambda conn, _: records.update(conn, changes))


def kept(database: Database, record_id: str) -> Snapshot:
    with database.read() as conn:
        record = records.get(conn, Snapshot, record_id, deleted=True)
    assert record is not None
    return record


def owning(source: str = "daily", **fields: Any) -> Snapshot:
    """A new snapshot that owns its reference."""
    return lifecycle.request(examples.snapshot(source, **{"id": new_id()} | fields))


def due(source: str = "daily", **fields: Any) -> Snapshot:
    return owning(source, **{"due_at": NOW} | fields)


def claim(snapshot: Snapshot) -> Change[Snapshot]:
    change = lifecycle.claim(snapshot, "worker 1", NOW, LEASE, RETRY)
    assert change is not None
    return change


# SQLite admits one writer at a time, so no row is skipped as locked, and no deadlock arises.
ON_SERVERS = pytest.mark.parametrize("database", ["mariadb", "postgresql"], indirect=True)


@contextmanager
def elsewhere(database: Database) -> Iterator[Connection]:
    """An open transaction of somebody else, rolled back in the end."""
    with database.engine.connect() as conn, conn.begin() as transaction:
        yield conn
        transaction.rollback()


# The schema.


def test_migrations_lead_from_nothing_to_the_tables_that_queries_use(database_url: str) -> None:
    engine = connect(database_url).engine

    schema.sync(engine)

    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_syncing_again_changes_nothing(database: Database) -> None:
    snapshot = owning()
    insert(database, snapshot)

    schema.sync(database.engine)

    assert kept(database, snapshot.id) == snapshot
    schema.require_current(database.engine)


def test_database_that_was_never_synced_is_refused_with_the_remedy(database_url: str) -> None:
    database = connect(database_url)

    with pytest.raises(errors.ConfigurationError, match="snapmanage-manage db sync"):
        schema.require_current(database.engine)
    database.close()


# Records are stored unchanged.


def whole(**fields: Any) -> Snapshot:
    """A snapshot with something in every field."""
    return examples.snapshot(
        name="for users",
        description="of the night",
        metadata={"k": "v", "empty": ""},
        size_gb=2**40,
        status=Status.ERROR,
        operation=Operation.UNMANAGE,
        generation=2**31 - 1,
        claim_number=2**31 - 1,
        attempt=7,
        started_at=NOW - SECOND,
        due_at=NOW + SECOND,
        claimed_by="worker 1",
        reason="it was busy",
        reason_code="in_use",
        backend_id="identity",
        backend_name="snapshot-2",
        original_name="daily",
        backend_created_at=NOW - timedelta(days=1),
        reference_key="a" * 64,
        identity_key="b" * 64,
        updated_at=NOW + SECOND,
        deleted_at=NOW + 2 * SECOND,
        storage="array:1",
        **fields,
    )


def test_record_is_read_as_it_was_written(database: Database) -> None:
    assert None not in vars(whole()).values()

    insert(database, whole())

    assert kept(database, whole().id) == whole()


def test_times_keep_their_microseconds_and_know_that_they_are_utc(database: Database) -> None:
    elsewhere_on_earth = datetime.fromisoformat("2026-03-01T23:59:59.999999+13:45")
    snapshot = owning(created_at=elsewhere_on_earth, due_at=datetime.max.replace(year=9000, tzinfo=UTC))
    insert(database, snapshot)

    found = kept(database, snapshot.id)

    assert found.created_at == elsewhere_on_earth
    assert found.created_at.tzinfo is UTC
    assert (found.created_at.microsecond, found.due_at and found.due_at.microsecond) == (999999, 999999)


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_read_as_it_was_written(database: Database, text: str) -> None:
    snapshot = owning(text, name=text, description=text, metadata={text: text}, reason=text, backend_name=text)
    insert(database, snapshot)

    found = kept(database, snapshot.id)

    assert found == snapshot
    assert found.reference.name() == text


def test_longest_name_fits(database: Database) -> None:
    snapshot = owning("\U0010ffff" * 5000, name="\U0010ffff" * 255)
    insert(database, snapshot)

    assert kept(database, snapshot.id) == snapshot


def test_tombstone_is_found_only_where_it_is_asked_for(database: Database) -> None:
    insert(database, whole())

    with database.read() as conn:
        assert records.get(conn, Snapshot, whole().id) is None
        assert records.get(conn, Snapshot, whole().id, deleted=True) == whole()


# Each object has one owner.


def test_object_has_one_owner_in_any_pool(database: Database) -> None:
    insert(database, owning())

    with pytest.raises(errors.AlreadyManaged, match="daily"):
        insert(database, owning(location=replace(examples.LOCATION, pool="another")))


@pytest.mark.parametrize("other", ["Daily", "daily ", "d\u00e1ily", "DAILY"])
def test_references_that_look_alike_do_not_collide(database: Database, other: str) -> None:
    insert(database, owning())

    insert(database, owning(other))

    with database.read() as conn:
        assert records.count(conn, Snapshot, ListQuery(PROJECT)) == 2


def test_same_reference_on_another_server_is_another_object(database: Database) -> None:
    insert(database, owning(), owning(location=Location("storage-2", "fast")))


def test_object_without_an_owner_may_be_managed_again(database: Database) -> None:
    first = due()
    insert(database, first)
    update(database, lifecycle.fail(first, errors.SourceNotFound("gone"), NOW, RETRY))

    insert(database, owning())


def test_change_to_an_owned_object_is_refused_and_nothing_is_written(database: Database) -> None:
    owner, other, innocent = (due(name) for name in ("a", "b", "c"))
    insert(database, owner, other, innocent)
    update(database, lifecycle.resolve(owner, examples.found(), "x", NOW))

    with pytest.raises(errors.AlreadyManaged):
        update(
            database,
            lifecycle.resolve(other, examples.found(), "y", NOW),
            lifecycle.resolve(innocent, examples.found("another"), "z", NOW),
        )

    assert kept(database, other.id) == other
    assert kept(database, innocent.id) == innocent


def test_owned_objects_are_found_by_identity_and_by_reference(database: Database) -> None:
    managed, asked, freed = due("a"), due("b"), due("c")
    insert(database, managed, asked, freed, due("d", location=Location("storage-2", "fast")))
    update(database, lifecycle.resolve(managed, examples.found("a"), "x", NOW))
    update(database, lifecycle.fail(freed, errors.SourceNotFound("gone"), NOW, RETRY))

    with database.read() as conn:
        owned = ownership.owned(conn, SERVER)

    assert owned.identities == {"identity of a": managed.id}
    assert owned.references == {Reference.named("a").text: managed.id, Reference.named("b").text: asked.id}


def test_owned_objects_are_found_among_some_objects(database: Database) -> None:
    volume = examples.volume(id=new_id(), due_at=NOW)
    managed, asked, beside = (due(name, volume_id=volume.id) for name in ("a", "b", "c"))
    insert(database, volume, managed, asked, beside)
    update(database, lifecycle.resolve(managed, examples.found("a"), "x", NOW))
    update(database, lifecycle.succeed(volume, examples.found_volume("disk"), NOW))
    found = [examples.found("x", identity="identity of a"), examples.found("b", parent_identity="identity of disk")]
    foreign = examples.found("c", parent_identity="identity of another disk")

    with database.read() as conn:
        owned = ownership.owned_among(conn, SERVER, [*found, foreign])
        nothing = ownership.owned_among(conn, SERVER, [])

    assert owned == Owned({"identity of a": managed.id}, {Reference.named("b").text: asked.id})
    assert nothing == Owned()


def test_usage_counts_the_owned_snapshots_of_a_project(database: Database) -> None:
    freed = due("freed", size_gb=100)
    insert(
        database,
        owning("a", size_gb=1),
        owning("b", size_gb=2),
        owning("c", size_gb=None),
        owning("d", size_gb=50, requester=Requester("another")),
        replace(owning("e", size_gb=7), reference_key=None, identity_key="e" * 64),
        freed,
    )
    update(database, lifecycle.fail(freed, errors.SourceNotFound("gone"), NOW, RETRY))

    with database.read() as conn:
        assert records.usage(conn, PROJECT) == Amount(4, 10)
        assert records.usage(conn, "nobody") == Amount(0, 0)


# Two writers of one record.


def test_second_change_of_the_same_record_writes_nothing(database: Database) -> None:
    before = due()
    insert(database, before)
    won, lost = claim(before), replace(claim(before), after=replace(claim(before).after, claimed_by="worker 2"))

    assert update(database, won) == [won]
    assert update(database, lost) == []

    assert kept(database, before.id).claimed_by == "worker 1"


def test_one_that_lost_does_not_hold_up_its_neighbours(database: Database) -> None:
    first, lost, last = (due(name) for name in ("a", "b", "c"))
    insert(database, first, lost, last)
    update(database, claim(lost))

    written = update(database, claim(first), claim(lost), claim(last))

    assert {change.before.id for change in written} == {first.id, last.id}
    assert [kept(database, each.id).claim_number for each in (first, lost, last)] == [1, 1, 1]


def test_change_of_a_missing_record_writes_nothing(database: Database) -> None:
    assert update(database, claim(due())) == []


def test_nothing_to_change_is_no_work(database: Database) -> None:
    assert update(database) == []


def test_batch_writes_to_each_record_its_own_values(database: Database) -> None:
    one, other = due("a", reason="kept"), due("b", reason="dropped", status=Status.AVAILABLE)
    insert(database, one, other)

    update(database, claim(one), lifecycle.unmanage(other, ASKED, NOW))

    assert (kept(database, one.id).reason, kept(database, other.id).reason) == ("kept", None)


def test_batch_resolves_each_record_to_its_own_object(database: Database) -> None:
    one, other = due("a"), due("b")
    insert(database, one, other)
    found = [backend_snapshot(f"{text}-{place}") for place, text in enumerate(TEXTS[:2])]

    resolved = [
        lifecycle.resolve(snapshot, each, f"managed {each.name}", NOW + LEASE)
        for snapshot, each in zip((one, other), found, strict=True)
    ]
    update(database, *resolved)

    assert [kept(database, each.id) for each in (one, other)] == [change.after for change in resolved]


def test_batch_with_a_value_that_fits_no_column_is_refused_whole(database: Database) -> None:
    one, other = due("a"), due("b")
    insert(database, one, other)
    # SQLite keeps texts of any length.
    long = backend_snapshot("c", identity="\ud800" if database.engine.dialect.name == "sqlite" else "x" * 256)

    with pytest.raises((StatementError, ValueError)):
        update(
            database,
            lifecycle.resolve(one, backend_snapshot("d"), "managed", NOW + LEASE),
            lifecycle.resolve(other, long, "managed", NOW + LEASE),
        )

    assert [kept(database, each.id) for each in (one, other)] == [one, other]


def backend_snapshot(name: str, identity: str | None = None) -> BackendSnapshot:
    return BackendSnapshot(name, identity or f"id of {name}", GIB, "volume-1", created_at=NOW)


def test_lease_is_renewed_only_under_the_claim_that_holds_it(database: Database) -> None:
    held, lost = due("a", claim_number=5), due("b", claim_number=5)
    insert(database, held, lost)

    renewed = [lifecycle.renew(held, NOW, LEASE), lifecycle.renew(replace(lost, claim_number=4), NOW, LEASE)]
    database.write(lambda conn, _: records.update(conn, renewed))

    assert kept(database, held.id) == replace(held, due_at=NOW + LEASE)
    assert kept(database, lost.id) == lost


def take(conn: Connection, limit: int = 10) -> list[str]:
    return [record.id for record in records.take_due(conn, Snapshot, SERVER, NOW, limit)]


def test_longest_due_record_is_taken_first_and_later_ones_are_left(database: Database) -> None:
    second, first, third = (due(str(seconds), due_at=NOW - seconds * SECOND) for seconds in (2, 3, 1))
    insert(database, second, first, third)
    insert(
        database,
        owning("not accepted"),
        due("later", due_at=NOW + SECOND),
        due("x", location=Location("storage-2", "fast")),
    )

    with database.read() as conn:
        assert take(conn) == [first.id, second.id, third.id]
        assert take(conn, limit=1) == [first.id]


def test_projects_in_turn_get_their_share_before_the_longest_due_records(database: Database) -> None:
    long = [due(f"a{number}", due_at=NOW - timedelta(seconds=60 - number)) for number in range(9)]
    short = [due(name, requester=Requester(name), due_at=NOW) for name in ("b", "c")]
    insert(database, *long, *short)

    with database.engine.connect() as conn, conn.begin():
        found = records.take_due(conn, Snapshot, SERVER, NOW, 6, ["b", "unknown", "c"])

    assert [each.id for each in found] == [each.id for each in [*short, *long[:4]]]


@ON_SERVERS
def test_records_locked_by_another_worker_are_skipped(database: Database) -> None:
    insert(database, *(due(name, due_at=NOW - n * SECOND) for n, name in enumerate("abcdef")))

    with elsewhere(database) as other, database.engine.connect() as conn, conn.begin():
        theirs = take(other, limit=3)
        mine = take(conn)

    # MariaDB may lock every row that it sorted, not only the rows that it returned.
    assert len(theirs) == 3
    assert not set(theirs) & set(mine)


@ON_SERVERS
def test_message_that_another_relay_is_taking_is_left_out(database: Database) -> None:
    post(database, *(message() for _ in range(4)))

    with elsewhere(database) as other, database.engine.connect() as conn, conn.begin():
        theirs = outbox.take(other, NOW, 2)
        mine = outbox.take(conn, NOW, 10)

    assert len(theirs) == 2
    assert not {each.id for each, _ in theirs} & {each.id for each, _ in mine}


# Listing.


def test_pages_by_marker_are_the_whole_list_though_times_are_equal(database: Database) -> None:
    made = [owning(str(n), created_at=NOW + n // 3 * SECOND) for n in range(8)]
    insert(database, *made, owning("other", requester=Requester("another")))

    with database.read() as conn:
        paged: list[Snapshot] = []
        while page := records.list_page(
            conn, Snapshot, ListQuery(PROJECT, limit=2, marker=paged[-1].id if paged else None)
        ):
            paged += page
        everything = records.list_page(conn, Snapshot, ListQuery(PROJECT))
        behind = records.list_page(conn, Snapshot, ListQuery(PROJECT, limit=2, offset=3))

    assert paged == everything
    assert behind == everything[3:5]
    assert {record.id for record in everything} == {record.id for record in made}
    assert [record.created_at for record in everything] == sorted((each.created_at for each in made), reverse=True)


def test_list_shows_matching_records_and_no_tombstone(database: Database) -> None:
    named, other = owning("a", name="n"), owning("b", name="N")
    insert(database, named, other, owning("c", name="n", deleted_at=NOW))

    with database.read() as conn:
        assert records.list_page(conn, Snapshot, ListQuery(PROJECT, {"name": "n"})) == [named]
        assert records.count(conn, Snapshot, ListQuery(PROJECT, {"name": "n"})) == 1
        assert records.count(conn, Snapshot, ListQuery(PROJECT)) == 2


def test_marker_of_another_project_is_unknown(database: Database) -> None:
    theirs = owning(requester=Requester("another"))
    insert(database, theirs)

    with database.read() as conn, pytest.raises(errors.InvalidRequest, match=theirs.id):
        records.list_page(conn, Snapshot, ListQuery(PROJECT, marker=theirs.id))


# The outbox.


def message(**fields: Any) -> Message:
    return replace(cast_of(examples.snapshot(id=new_id())), **fields)


def post(database: Database, *posted: Message, due_at: datetime = NOW) -> None:
    database.write(lambda conn, now: outbox.add(conn, posted, now, due_at))


def taken(database: Database, now: datetime = NOW) -> dict[str, int]:
    """Return the due messages with the number of their sendings, like a relay."""
    with database.read() as conn:
        return {each.id: sends for each, sends in outbox.take(conn, now, 10)}


def test_message_is_read_as_it_was_written(database: Database) -> None:
    posted = message(priority="INFO", body={"name": TEXTS[0], "deep": [{"n": None}]})
    post(database, posted)

    with database.read() as conn:
        assert outbox.take(conn, NOW, 10) == [(posted, 0)]


def test_message_is_left_alone_until_it_is_due(database: Database) -> None:
    posted = message()
    post(database, posted, due_at=NOW + SECOND)

    assert taken(database) == {}
    assert taken(database, NOW + SECOND) == {posted.id: 0}


def test_message_put_off_remembers_how_often_it_was_sent(database: Database) -> None:
    posted, other = message(), message()
    post(database, posted, other)

    for _ in range(2):
        database.write(lambda conn, _: outbox.postpone(conn, {posted.id: NOW + SECOND}))

    assert taken(database) == {other.id: 0}
    assert taken(database, NOW + SECOND) == {posted.id: 2, other.id: 0}


def test_forgotten_message_is_gone(database: Database) -> None:
    posted, other = message(), message()
    post(database, posted, other)

    database.write(lambda conn, _: outbox.forget(conn, [posted.id, "never there"]))

    assert taken(database) == {other.id: 0}


def test_accepted_cast_is_deleted_and_other_messages_of_its_record_stay(database: Database) -> None:
    cast = message()
    unmanage = replace(cast, id=new_id(), name="unmanage_snapshot")
    notification = replace(cast, id=new_id(), kind=Kind.NOTIFICATION)
    post(database, cast, unmanage, notification, other := message())

    database.write(lambda conn, _: outbox.forget_casts(conn, [cast.record_id], "manage_snapshot"))

    assert set(taken(database)) == {unmanage.id, notification.id, other.id}


def test_casts_for_a_server_that_is_back_are_due_at_once(database: Database) -> None:
    waiting, fresh, other = message(), message(), message(target="storage-2@fast")
    later = NOW + timedelta(hours=1)
    post(database, waiting, fresh, other, due_at=later)
    database.write(lambda conn, _: outbox.postpone(conn, {waiting.id: later, other.id: later}))

    database.write(lambda conn, now: outbox.hurry_casts(conn, SERVER, now))

    assert set(taken(database)) == {waiting.id}
    with database.read() as conn:
        assert outbox.waiting(conn) == 3


def quarantine_message(database: Database, body: bytes, reason: str) -> str | None:
    return database.write(lambda conn, now: quarantine.add(conn, "q", body, {"x-n": 1}, reason, now))


def only_quarantined(database: Database) -> QuarantinedMessage:
    """Return the only message in the quarantine."""
    with database.read() as conn:
        (row,) = quarantine.all_of(conn)
        found = quarantine.get(conn, row.id)
    assert found is not None
    return found


def test_quarantined_message_keeps_its_bytes(database: Database) -> None:
    body = bytes(range(256))

    known = quarantine_message(database, body, TEXTS[0])

    assert only_quarantined(database) == QuarantinedMessage(str(known), "q", body, {"x-n": 1}, TEXTS[0], NOW)


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


def test_message_quarantined_again_is_not_deleted_by_its_earlier_retry(database: Database) -> None:
    quarantine_message(database, b"body", "the first reason")
    sent = only_quarantined(database)
    quarantine_message(database, b"body", "the second reason")

    assert not database.write(lambda conn, _: quarantine.drop_unless_back(conn, sent))

    back = only_quarantined(database)
    assert database.write(lambda conn, _: quarantine.drop_unless_back(conn, back))
    with database.read() as conn:
        assert quarantine.get(conn, sent.id) is None


def test_rows_of_a_process_that_is_frozen_within_a_transaction_are_free_again_after_a_while(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        return  # it is for one process, and everything of it is frozen
    quick = {"mysql": "init_command=SET SESSION idle_transaction_timeout = 1"}
    url = database.engine.url.update_query_string(
        quick.get(database.engine.dialect.name, "options=-c idle_in_transaction_session_timeout=1s")
    )
    frozen = connect(url.render_as_string(hide_password=False))
    record = examples.snapshot()
    insert(database, record)
    conn = frozen.engine.connect()
    records.lock_many(conn, Snapshot, [record.id])

    assert database.write(lambda other, _: records.lock_many(other, Snapshot, [record.id]))

    with pytest.raises(sa.exc.DBAPIError) as ended:
        conn.execute(sa.text("SELECT 1"))
    assert passes(ended.value)
    conn.close()
    frozen.close()


def test_transactions_that_rest_are_ended(database: Database) -> None:
    wanted = {
        "mysql": ("SELECT @@SESSION.idle_transaction_timeout", 10),
        "postgresql": ("SHOW idle_in_transaction_session_timeout", "10s"),
    }
    if database.engine.dialect.name in wanted:
        query, seconds = wanted[database.engine.dialect.name]
        with database.read() as conn:
            assert conn.execute(sa.text(query)).scalar_one() == seconds


# Heartbeats, limits, messages to users.


def test_heartbeat_moves_and_leaves_a_disabled_server_disabled(database: Database, clock: FakeClock) -> None:
    def beat(conn: Connection, now: datetime) -> None:
        services.beat(conn, Service(SERVER, "fake", now))

    database.write(beat)
    assert database.write(lambda conn, _: services.disable(conn, SERVER, "new disks"))
    later = clock.advance(seconds=10)
    database.write(beat)

    with database.read() as conn:
        assert services.all_of(conn) == [Service(SERVER, "fake", later, "new disks")]
        assert services.get(conn, "storage-2@fast") is None
    assert not database.write(lambda conn, _: services.disable(conn, "storage-2@fast", None))


def beat(server: str, conn: Connection, now: datetime) -> None:
    services.beat(conn, Service(server, "fake", now))


def test_two_processes_of_one_server_may_come_up_together(database: Database) -> None:
    barrier = threading.Barrier(2)

    def come_up(process: int) -> None:
        for number in range(50):
            barrier.wait(20)
            database.write(partial(beat, f"{number}@fast"))

    with ThreadPoolExecutor(2) as processes:
        list(processes.map(come_up, range(2)))

    with database.read() as conn:
        assert len(services.all_of(conn)) == 50


def test_servers_of_a_host_are_those_whose_name_begins_with_it(database: Database) -> None:
    for server in ("a_b@x", "a_b@y", "aXb@x", "a_b2@x"):
        database.write(lambda conn, now, server=server: services.beat(conn, Service(server, "fake", now)))  # type: ignore[misc]

    with database.read() as conn:
        assert services.on_host(conn, "a_b") == ["a_b@x", "a_b@y"]


def test_project_has_the_limits_that_were_set_last_and_those_alone(database: Database) -> None:
    for limits in ({"snapshots": 3, "gigabytes": 5}, {"snapshots": None}, {"gigabytes": 0}):
        database.write(lambda conn, _, limits=limits: quotas.change(conn, PROJECT, limits))  # type: ignore[misc]
    database.write(lambda conn, _: quotas.open_queue(conn, "queued"))

    with database.read() as conn:
        assert quotas.get(conn, PROJECT) == ProjectQuota(PROJECT, None, 0)
        assert quotas.get(conn, "unknown") == ProjectQuota("unknown")
        assert quotas.all_of(conn) == [ProjectQuota(PROJECT, None, 0)]


# Idempotency keys.


def use(**fields: Any) -> KeyUse:
    return replace(KeyUse("k" * 64, "r" * 64, new_id(), NOW), **fields)


def test_key_stands_for_its_first_request_until_it_is_replaced(database: Database) -> None:
    first, second = use(), use()

    assert database.write(lambda conn, _: idempotency.hold(conn, first)) == first
    assert database.write(lambda conn, _: idempotency.hold(conn, second)) == first
    database.write(lambda conn, _: idempotency.replace(conn, second))
    assert database.write(lambda conn, _: idempotency.hold(conn, first)) == second


def test_oldest_keys_are_forgotten_first_and_fresh_ones_stay(database: Database) -> None:
    made = [use(key_digest=str(age), created_at=NOW - age * SECOND) for age in range(4)]
    for each in made:
        database.write(lambda conn, _, each=each: idempotency.hold(conn, each))  # type: ignore[misc]

    for limit, left in ((2, {"0", "1"}), (9, {"0"}), (9, {"0"})):
        database.write(lambda conn, _, limit=limit: idempotency.forget(conn, NOW, limit))  # type: ignore[misc]
        assert kept_keys(database) == left


@ON_SERVERS
def test_locked_key_is_neither_deleted_nor_waited_for(database: Database) -> None:
    old, older = (use(key_digest=str(age), created_at=NOW - age * SECOND) for age in (1, 2))
    for each in (old, older):
        database.write(lambda conn, _, each=each: idempotency.hold(conn, each))  # type: ignore[misc]

    with ThreadPoolExecutor(1) as pool, elsewhere(database) as other:
        idempotency.hold(other, older)
        pool.submit(database.write, lambda conn, _: idempotency.forget(conn, NOW, 10)).result(20)

    assert kept_keys(database) == {"2"}


def kept_keys(database: Database) -> set[str]:
    with database.read() as conn:
        return set(conn.execute(sa.select(tables.idempotency_keys.c.key_digest)).scalars())


# Messages to users.


def told(**fields: Any) -> UserMessage:
    made = UserMessage(new_id(), PROJECT, "VOLUME_SNAPSHOT", new_id(), None, "E", "ERROR", TEXTS[0], NOW)
    return replace(made, **fields)


def test_messages_to_users_are_listed_newest_first_and_per_project(database: Database) -> None:
    old, new, theirs = told(), told(created_at=NOW + SECOND), told(project_id="another")
    database.write(lambda conn, _: usermessages.add(conn, [old, new, theirs]))

    with database.read() as conn:
        assert usermessages.list_page(conn, ListQuery(PROJECT)) == [new, old]
        assert usermessages.list_page(conn, ListQuery(PROJECT, marker=new.id)) == [old]
        assert usermessages.list_page(conn, ListQuery(PROJECT, {"resource_id": old.resource_id})) == [old]
        assert usermessages.get(conn, PROJECT, theirs.id) is None


# Transactions.


def test_work_that_fails_leaves_nothing_behind(database: Database) -> None:
    def work(conn: Connection, _: datetime) -> None:
        records.insert(conn, owning())
        raise errors.InvalidState("second thoughts")

    with pytest.raises(errors.InvalidState):
        database.write(work)

    with database.read() as conn:
        assert records.count(conn, Snapshot, ListQuery(PROJECT)) == 0


@ON_SERVERS
def test_deadlock_is_broken_and_both_finish(database: Database) -> None:
    one, other = due("a"), due("b")
    insert(database, one, other)
    meet = threading.Barrier(2, timeout=20)
    tries: list[str] = []

    def cross(first: Snapshot, second: Snapshot) -> Callable[[Connection, datetime], None]:
        def work(conn: Connection, _: datetime) -> None:
            tries.append(first.id)
            records.lock_many(conn, Snapshot, [first.id])
            if len(tries) <= 2:
                meet.wait()
            change = Change(second, replace(second, attempt=second.attempt + 1))
            assert records.update(conn, [change]) == [change]

        return work

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(database.write, [cross(one, other), cross(other, one)]))

    assert len(tries) > 2
    assert (kept(database, one.id).attempt, kept(database, other.id).attempt) == (1, 1)


@ON_SERVERS
def test_lock_wait_that_times_out_is_tried_again(database: Database) -> None:
    record, tries = due(), list[int]()
    insert(database, record)

    with database.engine.connect() as somebody:
        records.lock_many(somebody, Snapshot, [record.id])

        def work(conn: Connection, now: datetime) -> None:
            tries.append(len(tries))
            if len(tries) == 2:
                somebody.rollback()
            conn.execute(sa.select(tables.snapshots).with_for_update(nowait=True))  # times out at once
            records.update(conn, [claim(record)], locked=True)

        database.write(work)

    assert tries == [0, 1]
    assert kept(database, record.id).attempt == 1


# 1205 and 1213 occur above; MariaDB reports 1020 if a transaction must see all rows as they were when it began.
@pytest.mark.parametrize("code", [1020, 1205, 1213])
def test_transaction_that_mariadb_gave_up_for_another_s_sake_starts_over(code: int) -> None:
    database, failures = connect("sqlite://"), [OperationalError("UPDATE", None, Exception(code, "try restarting"))]

    def work(conn: Connection, now: datetime) -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert database.write(work) == "done"
    database.close()


@ON_SERVERS
def test_connection_that_was_closed_while_it_rested_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "PING_AFTER_SECONDS", 0)
    insert(database, due())
    with database.read() as conn:
        rested = conn.execute(sa.text(OWN_CONNECTION[conn.dialect.name])).scalar_one()

    somebody = connect(database.engine.url.render_as_string(hide_password=False))
    close, left = CLOSING[database.engine.dialect.name]
    with somebody.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text(close.format(rested)))
        until(lambda: not conn.execute(sa.text(left.format(rested))).all(), "the connection to be closed")
    somebody.close()

    with database.read() as conn:
        assert conn.execute(sa.text("SELECT 1")).scalar_one() == 1


OWN_CONNECTION = {"mysql": "SELECT CONNECTION_ID()", "postgresql": "SELECT pg_backend_pid()"}
OWN_CONNECTION["mariadb"] = OWN_CONNECTION["mysql"]
# Statements that close a connection from another session, and that check whether it exists.
CLOSING = {
    "mysql": ("KILL {}", "SELECT 1 FROM information_schema.processlist WHERE id = {}"),
    "postgresql": ("SELECT pg_terminate_backend({})", "SELECT 1 FROM pg_stat_activity WHERE pid = {}"),
}
CLOSING["mariadb"] = CLOSING["mysql"]


def test_writers_take_turns_and_none_is_lost(database: Database) -> None:
    counter = owning(attempt=0)
    insert(database, counter)

    def count(_: int) -> None:
        def work(conn: Connection, now: datetime) -> None:
            (record,) = records.lock_many(conn, Snapshot, [counter.id])
            records.update(conn, [Change(record, replace(record, attempt=record.attempt + 1))])

        database.write(work)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(24)))

    assert kept(database, counter.id).attempt == 24


def test_reader_waits_for_no_writer_and_sees_committed_rows(database: Database) -> None:
    before = due()
    insert(database, before)

    with elsewhere(database) as writer:
        assert records.update(writer, [claim(before)])
        assert kept(database, before.id) == before


def test_time_is_the_database_s_own(database_url: str) -> None:
    database = connect(database_url)

    first, second = database.now(), database.now()

    with database.read() as conn:
        assert first <= second <= database_clock(conn)
    assert first.tzinfo is UTC
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)
    database.close()


# The audit log.


def hear(database: Database, generation: int) -> None:
    def work(conn: Connection, now: datetime) -> None:
        head = auditlog.head(conn, lock=True)
        payload = {"event_id": new_id(), "snapshot_id": examples.SNAPSHOT_ID, "generation": generation}
        auditlog.append(conn, [ledger.next_entry(head, "snapshot.manage.start", payload, now)])

    database.write(work)


def test_log_that_two_write_to_stays_one_chain(database: Database) -> None:
    hear(database, 0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda generation: hear(database, generation), range(1, 21)))

    with database.read() as conn:
        entries = list(auditlog.in_order(conn))
        head = auditlog.head(conn)
    assert head.number == len(entries) == 21
    assert ledger.first_break(entries, head) is None


def test_first_two_listeners_start_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda generation: hear(database, generation), range(2)))

    with database.read() as conn:
        assert ledger.first_break(auditlog.in_order(conn), auditlog.head(conn)) is None
        assert auditlog.head(conn).number == 2


def test_log_is_read_as_it_was_at_one_moment(database: Database) -> None:
    hear(database, 1)

    with database.read(at_one_moment=True) as conn:
        head = auditlog.head(conn)
        hear(database, 2)
        entries = list(auditlog.in_order(conn))

    assert ledger.first_break(entries, head) is None


def test_log_can_be_put_down_in_the_middle(database: Database) -> None:
    for generation in range(3):
        hear(database, generation)

    with database.read() as conn:
        assert next(auditlog.in_order(conn)).generation == 0
        assert auditlog.head(conn).number == 3


def test_volume_lives_in_its_own_table(database: Database) -> None:
    volume = examples.available_volume(size_gb=3 * GIB)
    insert(database, volume)

    with database.read() as conn:
        assert records.get(conn, Volume, volume.id) == volume
        assert records.get(conn, Snapshot, volume.id) is None
