"""Move the records of a host to another host, on each database."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.core.maintenance.hosts import Move
from snapmanage.core.outbox import cast
from snapmanage.core.records import Record, Snapshot, Status, Volume, identity_key, owner_key, reference_key
from snapmanage.core.reference import Reference
from snapmanage.core.services import Service
from snapmanage.core.values.location import Location
from snapmanage.manage.application import Application
from snapmanage.manage.maintenance import hosts
from snapmanage.manage.maintenance.hosts import Moved
from snapmanage.store import outbox, quarantine, records, services
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import SERVER, SNAPSHOT_ID, VOLUME_ID

NAMES = Names()
NEW = "storage-2@fast"
MOVE = Move("storage-1", "storage-2")


def owning(record: Record) -> Record:
    """Return a record that owns its reference and its object."""
    volume_id = record.volume_id if isinstance(record, Snapshot) else None
    placed = replace(record, backend_id=f"identity of {record.id}")
    key = reference_key(record.location.server, record.reference, volume_id)
    return replace(placed, reference_key=key, identity_key=identity_key(placed))


def insert(app: Application, *new: Record) -> None:
    for each in new:
        app.db.write(lambda conn, _, each=each: records.insert(conn, each))  # type: ignore[misc]


def get(app: Application, kind: type[Record], record_id: str) -> Record:
    with app.db.read() as conn:
        found = records.get(conn, kind, record_id, deleted=True)
    assert found
    return found


def beat(app: Application, server: str, storage: str | None = None) -> None:
    app.db.write(lambda conn, now: services.beat(conn, Service(server, "fake", now, storage=storage)))


@pytest.fixture
def down(app: Application, clock: FakeClock) -> Application:
    """Return an application whose server has been down for long."""
    clock.advance(hours=1)
    return app


def test_records_get_the_new_host_with_their_pool_and_own_their_objects_there(down: Application) -> None:
    snapshot = owning(examples.snapshot(status=Status.AVAILABLE))
    insert(down, snapshot)

    hosts.move(down, NAMES, MOVE, dry_run=False)

    volume, moved = get(down, Volume, VOLUME_ID), get(down, Snapshot, SNAPSHOT_ID)
    assert str(volume.location) == str(moved.location) == f"{NEW}#pool"
    assert moved.reference_key == reference_key(NEW, moved.reference, VOLUME_ID)
    assert moved.identity_key == owner_key(NEW, moved.backend_id or "")
    assert (moved.generation, moved.status) == (snapshot.generation, Status.AVAILABLE)


def test_key_with_the_id_of_the_storage_stays(down: Application) -> None:
    snapshot = owning(examples.snapshot(status=Status.AVAILABLE, storage="lvm:1"))
    insert(down, snapshot)

    hosts.move(down, NAMES, MOVE, dry_run=False)

    assert get(down, Snapshot, SNAPSHOT_ID).identity_key == snapshot.identity_key


def test_tombstone_moves_too_and_owns_nothing(down: Application) -> None:
    insert(down, examples.snapshot(status=Status.DELETED, deleted_at=examples.NOW, backend_id="gone"))

    hosts.move(down, NAMES, MOVE, dry_run=False)

    moved = get(down, Snapshot, SNAPSHOT_ID)
    assert (moved.location.server, moved.reference_key, moved.identity_key) == (NEW, None, None)


def test_claim_of_the_old_server_is_void_and_its_lease_goes_on(down: Application) -> None:
    due_at = examples.NOW + timedelta(hours=1)
    claimed = examples.snapshot(claimed_by="worker", claim_number=3, attempt=1, due_at=due_at)
    insert(down, claimed)

    hosts.move(down, NAMES, MOVE, dry_run=False)

    moved = get(down, Snapshot, SNAPSHOT_ID)
    assert (moved.claim_number, moved.due_at, moved.attempt) == (4, due_at, 1)


def test_casts_and_quarantined_messages_go_to_the_new_server_from_now_on(down: Application) -> None:
    snapshot = examples.snapshot()
    insert(down, snapshot)
    queue = NAMES.server_queue(SERVER)
    later = examples.NOW + timedelta(days=1)
    down.db.write(lambda conn, now: outbox.add(conn, [cast(snapshot)], now, later))
    down.db.write(lambda conn, now: quarantine.add(conn, queue, b"{}", {}, "odd", now))

    hosts.move(down, NAMES, MOVE, dry_run=False)

    with down.db.read() as conn:
        [(message, _)] = outbox.take(conn, down.db.clock(conn), 10)
        [quarantined] = quarantine.all_of(conn)
    assert (message.target, quarantined.queue) == (NEW, NAMES.server_queue(NEW))


def test_dry_run_counts_the_rows_of_the_move_and_changes_nothing(down: Application) -> None:
    snapshot = examples.snapshot()
    insert(down, snapshot, examples.snapshot(id=examples.new_id(), status=Status.ERROR))
    down.db.write(lambda conn, now: outbox.add(conn, [cast(snapshot)], now, now))

    counted = hosts.move(down, NAMES, MOVE, dry_run=True)

    assert counted == [
        Moved("volume", "available", SERVER, NEW, 1),
        Moved("snapshot", "creating", SERVER, NEW, 1),
        Moved("snapshot", "error", SERVER, NEW, 1),
        Moved("cast", "in the outbox", SERVER, NEW, 1),
    ]
    assert get(down, Volume, VOLUME_ID).location.server == SERVER
    assert hosts.past_moves(down.db) == []
    assert hosts.move(down, NAMES, MOVE, dry_run=False) == counted


def test_row_of_a_service_gets_the_new_name_so_that_a_disabled_server_stays_disabled(down: Application) -> None:
    down.db.write(lambda conn, _: services.disable(conn, SERVER, "broken disk"))

    hosts.move(down, NAMES, MOVE, dry_run=False)

    with down.db.read() as conn:
        [service] = services.all_of(conn)
    assert (service.server, service.disabled_reason) == (NEW, "broken disk")


def test_row_of_a_new_server_that_runs_already_stays(down: Application) -> None:
    beat(down, NEW, "lvm:1")

    hosts.move(down, NAMES, MOVE, dry_run=False)

    with down.db.read() as conn:
        assert [(each.server, each.storage) for each in services.all_of(conn)] == [(NEW, "lvm:1")]


def test_move_is_refused_while_the_old_server_is_up(app: Application) -> None:
    with pytest.raises(errors.InvalidState, match=f"{SERVER} is up"):
        hosts.move(app, NAMES, MOVE, dry_run=True)


def test_move_to_another_storage_is_refused(app: Application, clock: FakeClock) -> None:
    beat(app, SERVER, "lvm:1")
    clock.advance(hours=1)
    beat(app, NEW, "lvm:2")

    with pytest.raises(errors.InvalidState, match="lvm:1"):
        hosts.move(app, NAMES, MOVE, dry_run=False)


@pytest.mark.parametrize("dry_run", [True, False])
def test_move_is_refused_if_both_hosts_have_a_record_of_one_object(down: Application, dry_run: bool) -> None:
    here = owning(examples.available_volume("shared", id=examples.new_id()))
    location = Location.parse(NEW)
    other = replace(here, id=examples.new_id(), location=location, reference=Reference.named("the same"))
    other = replace(other, reference_key=None, identity_key=owner_key(NEW, here.backend_id or ""))
    insert(down, here, other)

    with pytest.raises(errors.InvalidState, match=f"volume {here.id} and {other.id}"):
        hosts.move(down, NAMES, MOVE, dry_run)

    assert get(down, Volume, here.id).location.server == SERVER


def test_move_of_an_unknown_host_names_the_servers_with_records(down: Application) -> None:
    with pytest.raises(errors.NotFound, match=SERVER):
        hosts.move(down, NAMES, Move("nowhere", "storage-2"), dry_run=False)


def test_move_of_one_backend_leaves_the_others(down: Application) -> None:
    other = examples.available_volume("other", id=examples.new_id(), location=Location.parse("storage-1@slow"))
    insert(down, other)

    hosts.move(down, NAMES, Move(SERVER, "storage-1@quick"), dry_run=False)

    assert get(down, Volume, VOLUME_ID).location.server == "storage-1@quick"
    assert get(down, Volume, other.id).location.server == "storage-1@slow"


def test_each_of_many_records_moves(down: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapmanage.store.hosts.AT_ONCE", 3)
    insert(down, *(owning(examples.snapshot(f"s{number}", id=examples.new_id())) for number in range(8)))

    hosts.move(down, NAMES, MOVE, dry_run=False)

    with down.db.read() as conn:
        assert set(conn.execute(select(tables.snapshots.c.server)).scalars()) == {NEW}


def test_servers_without_heartbeats_are_named_with_the_numbers_of_their_records(
    app: Application, clock: FakeClock
) -> None:
    insert(app, examples.snapshot(), examples.snapshot(id=examples.new_id(), deleted_at=examples.NOW))
    assert hosts.unserved(app) == []

    clock.advance(hours=1)

    [found] = hosts.unserved(app)
    assert (found.server, found.volumes, found.snapshots) == (SERVER, 1, 1)
    assert hosts.unserved(app, starting=[SERVER]) == []
