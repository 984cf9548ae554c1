"""The invariants of the chaos tests: a correct world violates none, and each single fault violates one."""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.chaos.fleet.files import FileStorage
from tests.chaos.fleet.invariants import Observed, longest_overdue, violations

Row = dict[str, Any]
VOLUME_ID = str(uuid.uuid4())


class World:
    """An idle deployment: `first` and `second` are managed, `unmanaged` is unmanaged again, `failed` is in error."""

    def __init__(self, folder: Path) -> None:
        self.storage = FileStorage("storage-1@pool", folder / "storage")
        self.snapshots: list[Row] = []
        self.events: list[Row] = []
        self.promises: dict[str, str] = {}
        self.outbox = self.suspects = 0
        self.removed_volumes: set[str] = set()
        self.first, self.second = self.add_managed_snapshot("first"), self.add_managed_snapshot("second")
        self.unmanaged = self.add_managed_snapshot("unmanaged")
        self.unmanage(self.unmanaged)
        self.failed = self.add_record("failed", "error")
        self.announce(self.failed, "manage.start", "manage.error")

    def add_record(self, name: str, status: str) -> Row:
        bound = ("backend_id", "backend_name", "original_name", "size_gb")
        row: Row = dict.fromkeys(("due_at", "claimed_by", "reason", *bound))
        row |= {"id": str(uuid.uuid4()), "server": self.storage.server, "status": status, "generation": 0}
        row |= {"volume_id": VOLUME_ID}
        row |= {"reference": json.dumps({"source-name": f"disk@{name}"})}
        self.snapshots.append(row)
        self.promises[row["id"]] = status
        return row

    def add_managed_snapshot(self, name: str) -> Row:
        row, source = self.add_record(name, "available"), self.storage.plant(name)
        row["backend_id"] = f"{self.storage.key_of(source)}-1700000000000000000"
        row["original_name"], row["backend_name"] = source, f"disk@snapshot-{row['id']}"
        row["size_gb"] = len(self.storage.planted)
        self.rename(source, row["backend_name"])
        self.announce(row, "manage.start", "manage.end")
        return row

    def unmanage(self, row: Row) -> None:
        """Unmanage a snapshot at the second request; the first one ended in error."""
        self.rename(row["backend_name"], row["original_name"])
        self.announce(row, "unmanage.start", "unmanage.error", "unmanage.start", "unmanage.end")
        row["status"] = self.promises[row["id"]] = "deleted"

    def rename(self, old: str, new: str) -> None:
        (self.storage.folder / old).rename(self.storage.folder / new)

    def announce(self, row: Row, *steps: str) -> None:
        for step in steps:
            row["generation"] += 1
            event = {"event_type": f"snapshot.{step}", "snapshot_id": row["id"], "generation": row["generation"]}
            self.events.append(event | {"event_id": f"{row['id']} {row['generation']}"})

    def events_of(self, row: Row) -> list[Row]:
        """Return the events of a snapshot."""
        return [event for event in self.events if event["snapshot_id"] == row["id"]]

    def remove_events(self, row: Row, *numbers: int) -> None:
        """Remove some events of a snapshot."""
        for event in [self.events_of(row)[number] for number in numbers]:
            self.events.remove(event)

    @property
    def observed(self) -> Observed:
        chained = [
            event | {"number": number, "previous_digest": f"{number - 1:064}", "digest": f"{number:064}"}
            for number, event in enumerate(self.events, 1)
        ]
        audit = sorted(chained, key=lambda event: (event["snapshot_id"], event["generation"]))
        return Observed(self.snapshots, audit, self.outbox, self.suspects, [self.storage], self.removed_volumes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_idle_world_violates_no_invariant(world: World) -> None:
    assert violations(world.observed, world.promises) == []


def test_event_of_an_unreadable_message_violates_no_invariant(world: World) -> None:
    world.events.append(world.events_of(world.first)[0] | {"event_id": "0", "snapshot_id": "?", "generation": 0})

    assert violations(world.observed, world.promises) == []


def test_file_that_disappears_while_the_storage_is_read_causes_no_failure(world: World) -> None:
    moving = world.storage.folder / "disk@moving"
    moving.symlink_to("gone")  # it is listed, like a file that a server renames a moment later, but can't be opened

    assert world.storage.key_of(moving.name) is None
    assert violations(world.observed, world.promises) == []


def remove_record(world: World) -> None:
    world.snapshots.remove(world.failed)


def promise_another_end(world: World) -> None:
    world.promises[world.failed["id"]] = "available"


def leave_in_outbox(world: World) -> None:
    world.outbox = 2


def leave_suspects(world: World) -> None:
    world.suspects = 3


def leave_in_progress(world: World) -> None:
    world.add_record("late", "creating")


def leave_claimed(world: World) -> None:
    world.first["claimed_by"] = "somebody"


def leave_due(world: World) -> None:
    world.failed["due_at"] = "2030-01-01"


def remove_volume(world: World) -> None:
    world.removed_volumes.add(VOLUME_ID)


def bind_both_to_one_object(world: World) -> None:
    world.second["backend_id"] = world.first["backend_id"]


def swap_records(world: World) -> None:
    """Bind each record to the other's object, consistently in all columns."""
    world.first["reference"], world.second["reference"] = world.second["reference"], world.first["reference"]


def swap_objects(world: World) -> None:
    """Bind each record to the other's object, with the original names unchanged."""
    for column in ("backend_id", "backend_name", "size_gb"):
        world.first[column], world.second[column] = world.second[column], world.first[column]


def bind_failed(world: World) -> None:
    world.failed |= {"backend_id": world.first["backend_id"], "original_name": "disk@failed"}


def change_size(world: World) -> None:
    world.second["size_gb"] = 7


def remove_object(world: World) -> None:
    (world.storage.folder / world.first["backend_name"]).unlink()


def keep_managed_name_of_unmanaged(world: World) -> None:
    world.rename(world.unmanaged["original_name"], world.unmanaged["backend_name"])


def replace_object(world: World) -> None:
    other = world.storage.folder / "another"
    other.write_bytes(b"the same")
    os.replace(other, world.storage.folder / world.first["backend_name"])


def change_data(world: World) -> None:
    with (world.storage.folder / world.second["backend_name"]).open("r+b") as file:
        file.write(b"other data")


def cut_data(world: World) -> None:
    os.truncate(world.storage.folder / world.second["backend_name"], 1000)


def rename_again(world: World) -> None:
    world.rename(world.first["backend_name"], world.first["original_name"])
    world.rename(world.first["original_name"], world.first["backend_name"])


def rename_without_request(world: World) -> None:
    world.rename(world.storage.plant("unrequested"), "disk@elsewhere")


def omit_the_rename(world: World) -> None:
    row = world.add_record("never", "available")
    source = world.storage.plant("never")
    row |= {"backend_id": f"{world.storage.key_of(source)}-1", "backend_name": "disk@x", "original_name": source}
    world.announce(row, "manage.start", "manage.end")


def omit_all_events(world: World) -> None:
    world.remove_events(world.failed, 0, 1)


def omit_the_start(world: World) -> None:
    world.remove_events(world.first, 0)


def omit_the_end(world: World) -> None:
    world.remove_events(world.first, 1)


def start_twice(world: World) -> None:
    world.events[0:0] = [world.events_of(world.first)[0] | {"event_id": "again", "generation": 1}]


def end_twice(world: World) -> None:
    world.announce(world.first, "manage.end")


def end_before_start(world: World) -> None:
    start, end = world.events_of(world.first)
    start["event_type"], end["event_type"] = end["event_type"], start["event_type"]


def end_another_operation(world: World) -> None:
    world.events_of(world.failed)[1]["event_type"] = "snapshot.unmanage.error"


def end_in_another_way(world: World) -> None:
    world.events_of(world.failed)[1]["event_type"] = "snapshot.manage.end"


def begin_with_unmanage(world: World) -> None:
    for event in world.events_of(world.failed):
        event["event_type"] = event["event_type"].replace(".manage.", ".unmanage.")


def omit_an_operation(world: World) -> None:
    """Remove the events of an operation; the remaining events look complete."""
    world.remove_events(world.unmanaged, 2, 3)


def omit_the_first_operation(world: World) -> None:
    world.remove_events(world.unmanaged, 0, 1)


def omit_the_last_operation(world: World) -> None:
    world.announce(world.failed, "unmanage.start", "unmanage.error")
    world.remove_events(world.failed, 2, 3)


def announce_unknown_snapshot(world: World) -> None:
    world.events.append(world.events_of(world.first)[0] | {"event_id": "?", "snapshot_id": "unknown"})


FAULTS: list[tuple[Callable[[World], None], str]] = [
    (remove_volume, "ORPHAN: {failed} is error, but its volume was unmanaged"),
    (remove_record, "LOST: {failed} was promised, but has no record"),
    (promise_another_end, "{failed} is error, not available: None"),
    (leave_in_outbox, "STUCK: 2 messages are left in the outbox"),
    (leave_suspects, "STUCK: 3 redelivered messages are counted"),
    (leave_in_progress, "is still creating"),
    (leave_claimed, "{first} is settled, but still claimed or due"),
    (leave_due, "{failed} is settled, but still claimed or due"),
    (bind_both_to_one_object, "belongs to ['{first}', '{second}']"),
    (swap_records, "SWAPPED: {first} refers to disk@second, but has disk@first as disk@first"),
    (swap_objects, "SWAPPED: {first} refers to disk@first, but has disk@second as disk@first"),
    (bind_failed, "SWAPPED: {failed} refers to disk@failed, but has disk@first as disk@failed"),
    (change_size, "SIZE: {second} has 7 GB, not 2"),
    (remove_object, "LOST: {first} is available, but disk@snapshot-{first} isn't"),
    (remove_object, "storage-1@pool: disk@first is gone"),
    (keep_managed_name_of_unmanaged, "LOST: {unmanaged} is deleted, but disk@unmanaged isn't"),
    (replace_object, "LOST: {first} is available, but disk@snapshot-{first} isn't"),
    (replace_object, "storage-1@pool: disk@snapshot-{first} was not there"),
    (change_data, "storage-1@pool: disk@snapshot-{second} has other data"),
    (cut_data, "storage-1@pool: disk@snapshot-{second} has other data"),
    (rename_again, "TWICE: disk@first became disk@snapshot-{first} 2 times, not 1"),
    (rename_again, "TWICE: disk@snapshot-{first} became disk@first 1 times, not 0"),
    (rename_without_request, "TWICE: disk@unrequested became disk@elsewhere 1 times, not 0"),
    (omit_the_rename, "TWICE: disk@never became disk@x 0 times, not 1"),
    (omit_all_events, "EVENTS: {failed} is error after []"),
    (omit_the_start, "EVENTS: {first} (available) has ['snapshot.manage.end']"),
    (omit_the_end, "EVENTS: {first} (available) has ['snapshot.manage.start']"),
    (start_twice, "EVENTS: {first} (available) has ['snapshot.manage.start', 'snapshot.manage.start', 'snapshot."),
    (end_twice, "EVENTS: {first} (available) has ['snapshot.manage.start', 'snapshot.manage.end', 'snapshot."),
    (end_before_start, "EVENTS: {first} (available) has ['snapshot.manage.end', 'snapshot.manage.start']"),
    (end_another_operation, "EVENTS: {failed} (error) has ['snapshot.manage.start', 'snapshot.unmanage.error']"),
    (end_in_another_way, "EVENTS: {failed} is error after ['snapshot.manage.start', 'snapshot.manage.end']"),
    (begin_with_unmanage, "EVENTS: {failed} (error) has ['snapshot.unmanage.start', 'snapshot.unmanage.error']"),
    (omit_an_operation, "EVENTS: {unmanaged} has a gap: [1, 2, 5, 6] of 1 to 6"),
    (omit_the_first_operation, "EVENTS: {unmanaged} has a gap: [3, 4, 5, 6] of 1 to 6"),
    (omit_the_last_operation, "EVENTS: {failed} has a gap: [1, 2] of 1 to 4"),
    (announce_unknown_snapshot, "unknown has events, but no record"),
]


@pytest.mark.parametrize(("inject", "line"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_single_fault_is_reported(world: World, inject: Callable[[World], None], line: str) -> None:
    ids = {name: getattr(world, name)["id"] for name in ("first", "second", "unmanaged", "failed")}

    inject(world)

    reported = violations(world.observed, world.promises)
    assert [text for text in reported if line.format(**ids) in text], reported


def test_row_that_was_removed_from_the_audit_log_is_reported(world: World) -> None:
    observed = world.observed
    remaining = [row for row in observed.audit if row["number"] != 3]

    reported = violations(replace(observed, audit=remaining), world.promises)

    assert "the audit log's numbers have a gap" in reported
    assert "the audit log's chain is broken before 4" in reported


def test_event_that_is_in_the_audit_log_twice_is_reported(world: World) -> None:
    world.events[3]["event_id"] = world.events[2]["event_id"]

    assert violations(world.observed, world.promises) == ["an event is in the audit log twice"]


def test_row_of_the_audit_log_that_was_replaced_is_reported(world: World) -> None:
    observed = world.observed
    forged = [dict(row) | {"digest": "f" * 64} if row["number"] == 3 else row for row in observed.audit]

    assert violations(replace(observed, audit=forged), world.promises) == ["the audit log's chain is broken before 4"]


@pytest.mark.parametrize(
    ("rows", "overdue_seconds"),
    [
        ([], 0),
        ([("creating", None)], 0),
        ([("creating", 5), ("unmanaging", 30), ("creating", None), ("available", 90)], 30),
        ([("creating", -60)], 0),
    ],
    ids=["nothing", "not accepted yet", "several", "a lease"],
)
def test_longest_overdue_is_the_time_of_the_most_overdue_operation(
    rows: list[tuple[str, int | None]], overdue_seconds: int
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    snapshots = sa.Table("snapshots", sa.MetaData(), sa.Column("status", sa.Text), sa.Column("due_at", sa.DateTime))
    snapshots.create(engine)
    with engine.begin() as conn:
        for status, ago in rows:
            due_at = None if ago is None else now - timedelta(seconds=ago)
            conn.execute(snapshots.insert(), {"status": status, "due_at": due_at})

    overdue = longest_overdue(engine)

    engine.dispose()
    assert (
        timedelta(seconds=overdue_seconds)
        <= overdue
        < timedelta(seconds=overdue_seconds + 20 * bool(overdue_seconds) + 0.5)
    )


def test_unused_storages_release_their_inotify_instances(tmp_path: Path) -> None:
    at_once = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())

    for number in range(min(at_once, 1000) + 1):
        assert FileStorage("storage-1@pool", tmp_path / str(number)).renames() == {}
