"""Edits of records, on every database, while a worker carries out an operation of the same record."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from snapmanage.core.backend import GIB
from snapmanage.core.edits import Edit
from snapmanage.core.origins.patterns import Origin, Rename
from snapmanage.core.quotas import Limits
from snapmanage.core.records import Record, Snapshot, Status
from snapmanage.manage import edits, settling
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.testing.waiting import until
from tests.functional.manage.operations.bench import DAILY, DISK, Bench

ORIGIN = Origin("zfs-auto-snapshot", None, None, Rename.SAFE, "the tool only reads its names")


def rename(bench: Bench, record: Record, name: str = "new") -> Snapshot:
    edit = Edit(texts={"name": name}, added={"tier": "gold"})
    return edits.edit(bench.app, Snapshot, record.id, None, edit)


@pytest.mark.parametrize("step", [Resolution, Outcome])
def test_edit_survives_the_answer_of_a_driver_that_was_called_before(
    bench: Bench, step: type[Resolution | Outcome]
) -> None:
    requested = bench.request(name="old", metadata={"a": "1"})
    bench.accept(requested)
    claimed = bench.claim_one()
    if step is Outcome:
        [resolved] = bench.resolve(claimed)
        claimed = Claimed(resolved, claimed.volume)

    rename(bench, requested)
    if step is Resolution:
        [resolved] = bench.resolve(claimed)
        claimed = Claimed(resolved, claimed.volume)
    settled = bench.settle(claimed)

    stored = bench.record(requested)
    assert [each.status for each in settled] == [Status.AVAILABLE]
    assert (stored.status, stored.name, stored.metadata) == (Status.AVAILABLE, "new", {"a": "1", "tier": "gold"})
    [ended] = [each.body for each in bench.messages() if each.name == "snapshot.manage.end"]
    assert (ended["name"], ended["display_name"], ended["metadata"]) == ("new", "new", stored.metadata)


def resolution_with_origin(bench: Bench, claimed: Claimed) -> Resolution:
    resolution = bench.carry_out_step(claimed)
    assert isinstance(resolution, Resolution)
    return replace(resolution, origin=ORIGIN)


def test_resolution_with_an_origin_keeps_the_edits_since_the_claim(bench: Bench) -> None:
    """A client adds, changes and removes pairs while the driver looks for the object."""
    requested = bench.request(metadata={"a": "1", "b": "2"})
    bench.accept(requested)
    resolution = resolution_with_origin(bench, bench.claim_one())

    edits.edit(bench.app, Snapshot, requested.id, None, Edit(metadata={"a": "3", "tier": "gold"}))
    [resolved] = settling.resolve(bench.app, [resolution])

    expected = {"a": "3", "tier": "gold", "origin": "zfs-auto-snapshot", "original-name": resolution.found.name}
    assert (resolved.metadata, bench.record(requested).metadata) == (expected, expected)


def test_origin_is_written_beside_edits_when_another_snapshot_of_the_batch_fails(bench: Bench) -> None:
    """The failure has an event, so the names and metadata of the batch are read again."""
    bench.change_rules(quota=Limits(gigabytes=3))
    bench.driver.add_snapshot(DISK, "sparse", 500 * GIB)
    requested = [bench.request(DAILY), bench.request("sparse")]
    bench.accept(*requested)
    resolutions = [resolution_with_origin(bench, each) for each in bench.claim()]
    for each in requested:
        rename(bench, each)
    settling.resolve(bench.app, resolutions)

    written = {"tier": "gold", "origin": "zfs-auto-snapshot", "original-name": DAILY}
    assert [(each.status, each.metadata) for each in map(bench.record, requested)] == [
        (Status.CREATING, written),
        (Status.ERROR, {"tier": "gold"}),
    ]


def carried_out(bench: Bench, record: Record) -> bool:
    """Carry out due operations, except those whose rows an edit has locked; return whether that of a record is done."""
    bench.carry_out_due()
    return bench.record(record).status is Status.AVAILABLE


def test_edits_and_operations_at_once_lose_nothing(bench: Bench) -> None:
    """A client renames snapshots while a worker manages them."""
    requested = bench.request()
    bench.accept(requested)
    stop = threading.Event()

    def rename_again_and_again() -> int:
        number = 0
        while not stop.is_set() and number < 1000:
            number += 1
            rename(bench, requested, f"name {number}")
        return number

    with ThreadPoolExecutor(1) as pool:
        renaming = pool.submit(rename_again_and_again)
        until(lambda: carried_out(bench, requested), "the snapshot to be managed")
        stop.set()
        last = renaming.result(30)

    stored = bench.record(requested)
    assert (stored.status, stored.generation, stored.metadata) == (Status.AVAILABLE, 2, {"tier": "gold"})
    assert stored.name == (f"name {last}" if last else None)
