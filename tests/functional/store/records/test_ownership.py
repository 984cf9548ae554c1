"""Each object of a backend has one owner."""

from dataclasses import replace

import pytest

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.lists.manageable import Owned
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.quotas import Usage
from snapmanage.core.records import Requester, Snapshot, Status
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store import ownership, quotas, records
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import NOW, PROJECT, RETRY, SERVER, new_id
from tests.functional.store.rows import due_snapshot, insert, owning_snapshot, stored, update


def test_object_has_one_owner_in_any_pool(database: Database) -> None:
    insert(database, owning_snapshot())

    with pytest.raises(errors.AlreadyManaged, match="daily"):
        insert(database, owning_snapshot(location=replace(examples.LOCATION, pool="another")))


@pytest.mark.parametrize("other", ["Daily", "daily ", "d\u00e1ily", "DAILY"])
def test_references_that_look_alike_do_not_collide(database: Database, other: str) -> None:
    insert(database, owning_snapshot())

    insert(database, owning_snapshot(other))

    with database.read() as conn:
        assert records.count(conn, Snapshot, ListQuery(PROJECT)) == 2


def test_same_reference_on_another_server_is_another_object(database: Database) -> None:
    insert(database, owning_snapshot(), owning_snapshot(location=Location("storage-2", "fast")))


def test_object_without_an_owner_may_be_managed_again(database: Database) -> None:
    first = due_snapshot()
    insert(database, first)
    update(database, lifecycle.fail(first, errors.SourceNotFound("gone"), NOW, RETRY))

    insert(database, owning_snapshot())


def test_change_to_an_owned_object_is_refused_and_nothing_is_written(database: Database) -> None:
    owner, other, innocent = (due_snapshot(name) for name in ("a", "b", "c"))
    insert(database, owner, other, innocent)
    update(database, lifecycle.resolve(owner, examples.found(), "x", NOW))

    with pytest.raises(errors.AlreadyManaged):
        update(
            database,
            lifecycle.resolve(other, examples.found(), "y", NOW),
            lifecycle.resolve(innocent, examples.found("another"), "z", NOW),
        )

    assert stored(database, other.id) == other
    assert stored(database, innocent.id) == innocent


def test_owned_objects_are_found_by_identity_and_by_reference(database: Database) -> None:
    managed, asked, freed = due_snapshot("a"), due_snapshot("b"), due_snapshot("c")
    insert(database, managed, asked, freed, due_snapshot("d", location=Location("storage-2", "fast")))
    update(database, lifecycle.resolve(managed, examples.found("a"), "x", NOW))
    update(database, lifecycle.fail(freed, errors.SourceNotFound("gone"), NOW, RETRY))

    with database.read() as conn:
        owned = ownership.owned(conn, SERVER)

    assert owned.identities == {"identity of a": managed.id}
    assert owned.references == {Reference.named("a").text: managed.id, Reference.named("b").text: asked.id}


def test_owned_objects_are_found_among_some_objects(database: Database) -> None:
    volume = examples.volume(id=new_id(), due_at=NOW)
    managed, asked, beside = (due_snapshot(name, volume_id=volume.id) for name in ("a", "b", "c"))
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


@pytest.mark.parametrize("live_first", [True, False])
def test_reference_on_a_volume_is_found_beside_the_tombstone_of_another_record_of_the_volume(
    database: Database, live_first: bool
) -> None:
    low, high = "0" * 8 + new_id()[8:], "f" * 8 + new_id()[8:]
    live, gone = (low, high) if live_first else (high, low)
    asked = due_snapshot("b", volume_id=live)
    insert(
        database,
        examples.available_volume(id=live),
        examples.available_volume(id=gone, status=Status.DELETED, deleted_at=NOW),
        asked,
    )

    with database.read() as conn:
        owned = ownership.owned_among(conn, SERVER, [examples.found("b", parent="disk")])

    assert owned.references == {Reference.named("b").text: asked.id}


def test_usage_counts_the_owned_snapshots_of_a_project(database: Database) -> None:
    freed = due_snapshot("freed", size_gb=100)
    insert(
        database,
        owning_snapshot("a", size_gb=1),
        owning_snapshot("b", size_gb=2),
        owning_snapshot("c", size_gb=None),
        owning_snapshot("d", size_gb=50, requester=Requester("another")),
        replace(owning_snapshot("e", size_gb=7), reference_key=None, identity_key="e" * 64),
        freed,
    )
    update(database, lifecycle.fail(freed, errors.SourceNotFound("gone"), NOW, RETRY))

    with database.read() as conn:
        assert quotas.usage(conn, PROJECT) == Usage(4, 10, failed_records=1)
        assert quotas.usage(conn, "nobody") == Usage()


def test_owner_is_found_among_more_objects_than_a_statement_can_take(database: Database) -> None:
    managed = due_snapshot("a")
    insert(database, managed)
    update(database, lifecycle.resolve(managed, examples.found("a"), "x", NOW))
    others = [examples.found(f"other-{number}") for number in range(70_000)]

    with database.read() as conn:
        owned = ownership.owned_among(conn, SERVER, [*others, examples.found("a")])

    assert owned.identities == {examples.found("a").identity: managed.id}


def test_registered_volumes_are_found_by_identity_by_the_name_of_an_upstream_api_and_by_reference(
    database: Database,
) -> None:
    volume = examples.available_volume("a", id=new_id())
    known = lifecycle.succeed(lifecycle.request(replace(volume, generation=0)), examples.found_volume("a"), NOW).after
    upstream = examples.available_volume("b", id=new_id())
    waiting = lifecycle.request(examples.volume("c", id=new_id()))
    elsewhere = examples.available_volume("d", id=new_id(), location=Location("storage-2", "fast"))
    deleted = examples.available_volume("e", id=new_id(), deleted_at=NOW)
    insert(database, known, upstream, waiting, elsewhere, deleted)

    with database.read() as conn:
        found = [examples.found_volume(name) for name in "abcdef"]
        registered = ownership.registered_among(conn, SERVER, found)
        nothing = ownership.registered_among(conn, SERVER, [])

    assert registered.identities == {"identity of a": known.id, "identity of b": upstream.id}
    assert registered.references == {Reference.named("a").text: known.id, Reference.named("c").text: waiting.id}
    assert nothing == Owned()
