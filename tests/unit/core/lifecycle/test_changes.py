"""Rules for every change out of a claim."""

from typing import Any

import pytest

from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Snapshot
from tests import examples
from tests.examples import LEASE, NOW, RETRY
from tests.unit.core.lifecycle.snapshots import FINAL, PASSING, claimed_snapshot, resolved_snapshot, unmanaging_snapshot


def possible_changes(record: Snapshot) -> list[Change[Any]]:
    """Return every change out of a record."""
    possible: list[Change[Any] | None] = [
        lifecycle.claim(record, "worker 2", NOW + LEASE, LEASE, RETRY),
        lifecycle.succeed(record, examples.found(), NOW),
        lifecycle.fail(record, PASSING, NOW, RETRY),
        lifecycle.fail(record, FINAL, NOW, RETRY),
        lifecycle.release(record, NOW),
    ]
    return [change for change in possible if change]


@pytest.mark.parametrize("record", [claimed_snapshot(), resolved_snapshot(), unmanaging_snapshot()])
def test_every_change_out_of_a_claim_changes_the_fence(record: Snapshot) -> None:
    assert record.fence not in [change.after.fence for change in possible_changes(record)]
    assert all(change.before is record for change in possible_changes(record))


@pytest.mark.parametrize("record", [claimed_snapshot(), resolved_snapshot(), unmanaging_snapshot()])
def test_every_event_carries_the_generation_of_its_own_record(record: Snapshot) -> None:
    announced = [change for change in possible_changes(record) if change.event]

    assert announced
    for change in announced:
        assert change.event is not None
        assert change.event.payload["generation"] == change.after.generation == record.generation + 1


@pytest.mark.parametrize("record", [claimed_snapshot(), resolved_snapshot(), unmanaging_snapshot()])
def test_change_without_an_event_keeps_the_generation(record: Snapshot) -> None:
    without_event = [change for change in possible_changes(record) if not change.event]

    assert [change.after.generation for change in without_event] == [record.generation] * 3
