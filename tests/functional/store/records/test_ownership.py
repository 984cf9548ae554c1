"""Each object of a backend has one owner."""

from dataclasses import replace

import pytest

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.lists.manageable import Owned
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.quotas import Amount
from snapmanage.core.records import Requester, Snapshot
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store import ownership, records
from snapmanage.store.engine.database import Database
from tests import examples
from tests.examples import NOW, PROJECT, RETRY, SERVER, new_id
from tests.functional.store.rows import due, insert, kept, owning, update


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
    update(database, lifecycle.register_succeeded(volume, examples.found_volume("disk"), NOW))
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
