"""An object has one owner on its storage: two hosts on one storage don't take each other's snapshots."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from snapmanage.core.backend import Binding
from snapmanage.core.records import Snapshot, owner_key
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.protocol import Driver
from snapmanage.drivers.system.deadline import within
from snapmanage.manage import ownership
from snapmanage.store import records as store_records
from snapmanage.store.mapping import tables
from tests import examples
from tests.functional.manage.images import DAILY, DISK, WEEKLY
from tests.functional.world import RULES, World, running_world

FIRST, SECOND, ELSEWHERE = "storage-1@images", "storage-2@images", "storage-3@others"


def shared(folder: Path, other: Path) -> dict[str, Driver]:
    """Return two hosts that serve one directory, each by itself, and a third that serves another directory."""
    other.mkdir()
    for name in (DISK, DAILY):
        (other / name).write_bytes(b"data")
    return {FIRST: FileDriver(str(folder)), SECOND: FileDriver(str(folder)), ELSEWHERE: FileDriver(str(other))}


@pytest.fixture
def world(tmp_path: Path, folder: Path) -> Iterator[World]:
    with running_world(tmp_path, shared(folder, tmp_path / "others")) as made:
        yield made


@pytest.fixture
def world_without_names(tmp_path: Path, folder: Path) -> Iterator[World]:
    """Yield a world without a name template, so that no name shows the owner of an object."""
    with running_world(tmp_path, shared(folder, tmp_path / "others"), replace(RULES, name_template="")) as made:
        yield made


def reasons(world: World, server: str) -> dict[str, tuple[str | None, str | None]]:
    """Return the reason and the owner of each entry of a list that isn't safe to manage."""
    entries = world.client.manageable(server)
    return {each["reference"]["source-name"]: (each["reason_not_safe"], each["cinder_id"]) for each in entries}


def test_snapshot_of_one_host_is_listed_as_managed_by_the_other_host(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)

    listed = reasons(world, SECOND)

    assert listed == {f"{DISK}@snapshot-{snapshot_id}": ("already managed", snapshot_id), WEEKLY: (None, None)}
    assert listed == reasons(world, FIRST)
    assert reasons(world, ELSEWHERE) == {DAILY: (None, None)}


def test_snapshot_of_one_host_is_refused_by_the_other_host_at_once(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)

    refused = world.client.manage(world.register_volume(DISK, host=SECOND), f"{DISK}@snapshot-{snapshot_id}")

    assert refused.status_code == 409
    assert f"as snapshot {snapshot_id}" in refused.text


def test_name_that_holds_the_id_of_a_managed_snapshot_is_refused_on_another_storage_too(
    world: World, tmp_path: Path
) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    copy = f"{DISK}@snapshot-{snapshot_id}"
    (tmp_path / "others" / copy).write_bytes(b"data")

    refused = world.client.manage(world.register_volume(DISK, host=ELSEWHERE), copy)

    assert refused.status_code == 409
    assert reasons(world, ELSEWHERE)[copy] == ("already managed", snapshot_id)


def test_snapshot_of_a_volume_that_is_named_for_a_managed_snapshot_can_be_managed(world: World, folder: Path) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    restored = f"restored-{snapshot_id}.img"
    for name in (restored, f"{restored}@daily"):
        (folder / name).write_bytes(b"data")

    assert reasons(world, FIRST)[f"{restored}@daily"] == (None, None)
    assert world.manage_snapshot(world.register_volume(restored, host=FIRST), f"{restored}@daily")


def test_unmanaged_snapshot_can_be_managed_by_the_other_host(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    assert world.client.unmanage(snapshot_id).status_code == 202
    world.await_unmanaged(snapshot_id)

    assert world.manage_snapshot(world.register_volume(DISK, host=SECOND), DAILY)


def test_same_reference_on_the_same_volume_is_refused_by_the_other_host_without_a_name_template(
    world_without_names: World,
) -> None:
    world = world_without_names
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    elsewhere = world.register_volume(DISK, host=ELSEWHERE)

    refused = world.client.manage(world.register_volume(DISK, host=SECOND), DAILY)

    assert refused.status_code == 409
    assert f"as snapshot {snapshot_id}" in refused.text
    assert reasons(world, SECOND)[DAILY] == ("already managed", snapshot_id)
    assert world.manage_snapshot(elsewhere, DAILY)


def test_retry_is_refused_if_the_other_host_manages_the_object_meanwhile(
    world_without_names: World, folder: Path
) -> None:
    world, late = world_without_names, f"{DISK}@late"
    failed_id = world.request_manage(world.register_volume(DISK, host=FIRST), late)
    assert world.await_settled(failed_id)["status"] == "error"
    (folder / late).write_bytes(b"data")
    owner_id = world.manage_snapshot(world.register_volume(DISK, host=SECOND), late)

    refused = world.client.retry(failed_id)

    assert refused.status_code == 409
    assert f"as snapshot {owner_id}" in refused.text


def test_second_name_of_an_owned_object_ends_in_error_without_a_name_template(
    world_without_names: World, folder: Path
) -> None:
    world = world_without_names
    world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    (folder / DAILY).rename(folder / f"{DISK}@renamed")

    snapshot_id = world.request_manage(world.register_volume(DISK, host=SECOND), f"{DISK}@renamed")

    assert world.await_settled(snapshot_id)["status"] == "error"
    assert world.client.operation(snapshot_id)["reason_code"] == "already_managed"


def test_list_of_safe_snapshots_leaves_out_those_of_the_other_host(world: World) -> None:
    world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)

    safe = world.client.get(
        "os-snapshot-manage", version="3.8", params={"host": SECOND, "safe_to_manage": "true"}
    ).json()

    assert [each["reference"]["source-name"] for each in safe["manageable-snapshots"]] == [WEEKLY]


def test_servers_of_one_storage_log_each_other_when_they_start(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), running_world(tmp_path, shared(folder, tmp_path / "others")) as world:
        lines = [record.getMessage() for record in caplog.records if "same storage" in record.getMessage()]

        assert len(world.server.servers) == 3
    assert any(FIRST in line and SECOND in line for line in lines)
    assert not any(ELSEWHERE in line for line in lines)


def rewrite_as_earlier_release(world: World, **fields: object) -> None:
    """Rewrite all records as an earlier release did, with the server instead of the storage in their keys."""
    snapshots = tables.snapshots
    with world.db.engine.begin() as conn:
        rows = conn.execute(snapshots.select()).all()
        for row in rows:
            key = owner_key(row.server, row.backend_id)
            conn.execute(
                update(snapshots).where(snapshots.c.id == row.id).values(storage=None, identity_key=key, **fields)
            )


def test_records_of_an_earlier_release_are_owned_on_their_storage_once_the_server_starts(
    world_without_names: World,
) -> None:
    world = world_without_names
    snapshot_id = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    known = world.record(snapshot_id)
    rewrite_as_earlier_release(world)
    assert known.storage

    conflicts = ownership.adopt(world.db, FIRST, known.storage)

    assert (conflicts, world.record(snapshot_id)) == ([], known)
    assert reasons(world, SECOND)[DAILY] == ("already managed", snapshot_id)


def test_object_of_two_records_of_an_earlier_release_is_reported_and_left_as_it_is(world_without_names: World) -> None:
    world = world_without_names
    first = world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)
    storage = world.record(first).storage
    rewrite_as_earlier_release(world)
    volume = world.register_volume(DISK, host=SECOND)
    clone = replace(
        world.record(world.manage_snapshot(volume, WEEKLY)), backend_id=world.record(first).backend_id, storage=None
    )
    assert clone.backend_id
    key = owner_key(SECOND, clone.backend_id)
    with world.db.engine.begin() as conn:
        mine = tables.snapshots.c.id == clone.id
        changes = {"backend_id": clone.backend_id, "storage": None, "identity_key": key}
        conn.execute(update(tables.snapshots).where(mine).values(changes))
    assert storage

    assert ownership.adopt(world.db, FIRST, storage) == []
    conflicts = ownership.adopt(world.db, SECOND, storage)

    assert [(each.snapshot_id, each.owner_id) for each in conflicts] == [(clone.id, first)]
    assert world.record(clone.id).identity_key == key
    assert ownership.adopt(world.db, SECOND, storage) == []


def test_object_of_two_records_of_one_server_does_not_stop_its_backend(world_without_names: World) -> None:
    world = world_without_names
    volume = world.register_volume(DISK, host=FIRST)
    first, second = (world.manage_snapshot(volume, name) for name in (DAILY, WEEKLY))
    known = world.record(first)
    rewrite_as_earlier_release(world)
    assert known.storage
    assert known.backend_id
    with world.db.engine.begin() as conn:
        key = owner_key("another storage", known.backend_id)
        changes = {"backend_id": known.backend_id, "identity_key": key}
        conn.execute(update(tables.snapshots).where(tables.snapshots.c.id == second).values(changes))

    [conflict] = ownership.adopt(world.db, FIRST, known.storage)

    assert {conflict.snapshot_id, conflict.owner_id} == {first, second}


def test_record_that_another_process_moves_to_another_storage_each_time_is_moved_once(
    world_without_names: World,
) -> None:
    world = world_without_names
    storage = world.record(world.manage_snapshot(world.register_volume(DISK, host=FIRST), DAILY)).storage
    rewrite_as_earlier_release(world)
    assert storage
    with world.db.engine.begin() as conn:
        conn.exec_driver_sql(
            "CREATE TRIGGER elsewhere AFTER UPDATE OF storage ON snapshots "
            "BEGIN UPDATE snapshots SET storage = 'elsewhere' WHERE id = NEW.id; END"
        )

    assert within(10, "adopting", lambda: ownership.adopt(world.db, FIRST, storage)) == []


class DriverOfBefore(FakeDriver):
    """A driver of an earlier release, without a storage id."""

    def __getattribute__(self, name: str) -> object:
        if name == "storage_id":
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_driver_without_a_storage_id_is_served(tmp_path: Path) -> None:
    with running_world(tmp_path, {FIRST: DriverOfBefore()}) as world:
        snapshot_id = world.manage_snapshot(world.register_volume("volume-1", host=FIRST), "volume-1-snapshot-1")

        assert world.record(snapshot_id).storage is None


class RenewingDriver(FakeDriver):
    """A driver whose identities had another form in an earlier release."""

    def renewed_identities(self, bindings: Sequence[Binding]) -> Mapping[str, str]:
        return {each.identity: f"new-{each.identity}" for each in bindings}


def test_identity_in_an_earlier_form_is_renewed_when_the_server_starts(tmp_path: Path) -> None:
    with running_world(tmp_path, {FIRST: RenewingDriver()}) as world:
        volume = world.register_volume("volume-1", host=FIRST)
        managed = world.record(world.manage_snapshot(volume, "volume-1-snapshot-1"))
        records = [managed, *insert_copies(world, managed, 599)]
        rewrite_as_earlier_release(world)

        start_another_process(world)

        renewed = [world.record(each.id) for each in records]
        assert [each.backend_id for each in renewed] == [f"new-{each.backend_id}" for each in records]
        assert len({each.identity_key for each in renewed}) == len(records)
        assert all(map(is_owned, itertools.chain(records, renewed)))


def insert_copies(world: World, managed: Snapshot, number: int) -> list[Snapshot]:
    """Write `number` copies of the record of a managed snapshot and return them."""
    assert managed.storage

    made = [
        replace(
            managed,
            id=examples.new_id(),
            reference_key=None,
            backend_id=f"identity-{each}",
            identity_key=owner_key(managed.storage, f"identity-{each}"),
        )
        for each in range(number)
    ]
    world.db.write(lambda conn, _: store_records.insert_many(conn, made))
    return made


def start_another_process(world: World) -> None:
    """Start another process of the server inside a renewal."""
    world.another_server().drain(timeout_seconds=10)


def is_owned(snapshot: Snapshot) -> bool:
    assert snapshot.storage
    assert snapshot.backend_id
    return snapshot.identity_key == owner_key(snapshot.storage, snapshot.backend_id)


def registered(world: World, server: str) -> dict[str, tuple[str | None, str | None]]:
    """Return the reason and the record of each volume in a list."""
    entries = world.client.manageable_volumes(server)
    return {each["reference"]["source-name"]: (each["reason_not_safe"], each["cinder_id"]) for each in entries}


def test_volume_of_one_host_is_listed_as_managed_by_the_other_host_of_its_storage(world: World) -> None:
    volume_id = world.register_volume(DISK, host=FIRST)

    assert registered(world, FIRST) == {DISK: ("already managed", volume_id)}
    assert registered(world, SECOND) == {DISK: ("already managed", volume_id)}
    assert registered(world, ELSEWHERE) == {DISK: (None, None)}


def test_volume_that_two_hosts_have_registered_is_listed_with_the_record_of_its_own_host(world: World) -> None:
    of_the_host = {host: world.register_volume(DISK, host=host) for host in (FIRST, SECOND)}

    for host, volume_id in of_the_host.items():
        assert registered(world, host) == {DISK: ("already managed", volume_id)}


def test_other_volume_with_the_name_of_a_registered_one_is_not_its_record(world: World, folder: Path) -> None:
    volume_id = world.register_volume(DISK, host=FIRST)
    (folder / DISK).rename(folder / "renamed.img")
    (folder / DISK).write_bytes(b"data")

    assert registered(world, FIRST) == {
        "renamed.img": ("already managed", volume_id),
        DISK: (f"volume {volume_id} is managed under this reference", None),
    }
    assert registered(world, SECOND) == {"renamed.img": ("already managed", volume_id), DISK: (None, None)}
