"""The rules of purging."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from snapmanage.core import edits, lifecycle
from snapmanage.core.edits import Edit
from snapmanage.core.maintenance import purge
from snapmanage.core.maintenance.purge import MINIMUM_AGE, Kind, Mentions, Obstacle
from snapmanage.core.records import Operation, Record, Status, changed
from snapmanage.core.services import Service
from snapmanage.core.usermessages import MESSAGE_LIFETIME
from tests import examples
from tests.examples import NOW, SERVER, SNAPSHOT_ID, VOLUME_ID

BEFORE = NOW - timedelta(days=1)
NOTHING = Mentions(quarantined=set(), servers={SERVER})
BOUND: dict[str, Any] = {"backend_id": "i", "original_name": "daily", "backend_name": "snapshot-2"}
FAILED = examples.snapshot(status=Status.ERROR, updated_at=BEFORE - timedelta(seconds=1))
TOMBSTONE = examples.snapshot(
    status=Status.DELETED, operation=Operation.UNMANAGE, deleted_at=BEFORE - timedelta(seconds=1), **BOUND
)
FAILED_VOLUME = examples.volume(status=Status.ERROR, updated_at=BEFORE - timedelta(seconds=1))


def test_user_messages_are_kept_as_long_as_the_api_guarantees() -> None:
    assert MINIMUM_AGE >= MESSAGE_LIFETIME


@pytest.mark.parametrize(
    ("record", "kinds"),
    [
        (FAILED, {Kind.FAILED}),
        (FAILED_VOLUME, {Kind.FAILED}),
        (TOMBSTONE, {Kind.TOMBSTONES}),
        (replace(FAILED, updated_at=BEFORE), set()),
        (replace(TOMBSTONE, deleted_at=BEFORE), set()),
        (replace(FAILED, operation=Operation.UNMANAGE), set()),
        (replace(FAILED, status=Status.AVAILABLE), set()),
        (lifecycle.request(examples.snapshot()), set()),
    ],
)
def test_only_old_tombstones_and_failed_records_can_be_purged(record: Record, kinds: set[Kind]) -> None:
    assert {kind for kind in (Kind.FAILED, Kind.TOMBSTONES) if purge.is_purgeable(record, kind, BEFORE)} == kinds


@pytest.mark.parametrize("step_at", [FAILED.updated_at, None], ids=["record", "row of an earlier release"])
@pytest.mark.parametrize("record", [FAILED, FAILED_VOLUME], ids=["snapshot", "volume"])
def test_rename_does_not_make_a_failed_record_young(record: Record, step_at: datetime | None) -> None:
    renamed = edits.apply(changed(record, step_at=step_at), Edit({"name": "new"}), NOW).after
    again = edits.apply(renamed, Edit({"name": "newer"}), NOW).after

    assert again.updated_at == NOW
    assert purge.is_purgeable(again, Kind.FAILED, BEFORE)


@pytest.mark.parametrize(
    ("record", "mentions", "obstacle"),
    [
        (FAILED, NOTHING, None),
        (TOMBSTONE, NOTHING, None),
        (FAILED_VOLUME, NOTHING, None),
        (FAILED, replace(NOTHING, unsent={SNAPSHOT_ID}), Obstacle.UNSENT),
        (TOMBSTONE, replace(NOTHING, servers={"storage-2@fast"}), Obstacle.SERVER_DOWN),
        (TOMBSTONE, replace(NOTHING, quarantined={SNAPSHOT_ID}), Obstacle.QUARANTINED),
        (replace(FAILED, **BOUND), NOTHING, Obstacle.RESOLVED),
        (replace(FAILED, **BOUND | {"backend_name": "daily"}), NOTHING, None),
        (FAILED_VOLUME, replace(NOTHING, parents={VOLUME_ID}), Obstacle.HAS_SNAPSHOTS),
    ],
)
def test_record_is_kept_as_long_as_something_may_refer_to_it(
    record: Record, mentions: Mentions, obstacle: Obstacle | None
) -> None:
    assert purge.obstacle(record, mentions) is obstacle


@pytest.mark.parametrize(
    ("service", "obstacle"),
    [
        (Service("storage-2@fast", "fake", BEFORE), None),
        (Service("storage-2@fast", "fake", BEFORE, "new disks"), Obstacle.DISABLED),
        (Service(SERVER, "fake", BEFORE), Obstacle.HAS_RECORDS),
    ],
)
def test_server_is_kept_if_it_has_records_or_is_disabled(service: Service, obstacle: Obstacle | None) -> None:
    assert purge.obstacle_of_server(service, {SERVER}) is obstacle
