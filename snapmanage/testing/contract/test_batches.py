"""The contract of a driver: many at once, whether its methods take many or are called in a loop.

The trouble of one object is its own; a batch that was cut off is finished by repeating it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import batch
from snapmanage.drivers.batch import Asked
from snapmanage.testing.contract.helpers import binding_of, by_name, killed_at_rename, new_snapshot
from snapmanage.testing.lab import HoldingLab, Lab


def bindings_of_new_snapshots(lab: Lab, number: int) -> list[Binding]:
    return [binding_of(lab, new_snapshot(lab, f"daily-{each}")) for each in range(number)]


def identities(results: Sequence[object]) -> list[object]:
    """Return the identity of each snapshot, and the type of each other result."""
    return [each.identity if isinstance(each, BackendSnapshot) else type(each) for each in results]


@pytest.mark.active
def test_many_are_found_as_one_is(lab: Lab) -> None:
    snapshots = [new_snapshot(lab, f"daily-{each}") for each in range(3)]
    asked = [Asked(Reference.named(each.name), each.parent) for each in snapshots]
    missing, impossible = Asked(Reference.named(lab.name_of("missing"))), Asked(Reference('{"unknown": "1"}'))

    results = batch.find_snapshots(lab.driver, [missing, *asked, impossible])

    assert results[1:-1] == snapshots
    assert identities(results)[::4] == [errors.SourceNotFound, errors.InvalidReference]


@pytest.mark.active
def test_many_are_managed_and_unmanaged_in_the_order_given(lab: Lab) -> None:
    before = [new_snapshot(lab, f"daily-{each}") for each in range(4)]
    bindings = [binding_of(lab, each) for each in before]

    managed = batch.manage_snapshots(lab.driver, bindings)
    names, again = lab.names(), batch.manage_snapshots(lab.driver, bindings)
    unmanaged = batch.unmanage_snapshots(lab.driver, bindings)

    assert managed == again
    assert [each.name for each in managed if isinstance(each, BackendSnapshot)] == [
        each.managed_name for each in bindings
    ]
    assert names == {each.managed_name for each in bindings}
    assert unmanaged == [None] * 4
    assert sorted(lab.driver.list_snapshots(), key=by_name) == sorted(before, key=by_name)


@pytest.mark.no_kernel
def test_trouble_of_one_object_changes_no_other(lab: Lab) -> None:
    gone, other, taken, *good = bindings_of_new_snapshots(lab, 5)
    lab.remove(gone.original_name)
    taken = Binding(taken.identity, taken.original_name, new_snapshot(lab, "other").name)
    foreign = Binding(good[0].identity, other.original_name, other.managed_name)

    results = batch.manage_snapshots(lab.driver, [gone, good[0], foreign, taken, good[1]])

    refusals = [errors.SourceNotFound, errors.SourceNotFound, errors.NameTaken]
    assert identities(results) == [refusals[0], good[0].identity, *refusals[1:], good[1].identity]
    untouched = {other.original_name, taken.original_name, taken.managed_name}
    assert lab.names() == untouched | {each.managed_name for each in good}


@pytest.mark.lab_needs("held")
def test_object_in_use_is_refused_and_every_other_one_is_managed(lab: HoldingLab) -> None:
    """A holder of one snapshot may use others too, such as its overlays."""
    bindings = bindings_of_new_snapshots(lab, 3)
    busy = bindings[1]

    with lab.held(busy.original_name):
        results = batch.manage_snapshots(lab.driver, bindings)
    in_use = [each for each, result in zip(bindings, results, strict=True) if isinstance(result, errors.InUse)]
    names = lab.names()
    batch.manage_snapshots(lab.driver, in_use)

    assert busy in in_use
    assert names == {each.original_name if each in in_use else each.managed_name for each in bindings}
    assert lab.names() == {each.managed_name for each in bindings}


@pytest.mark.active
@pytest.mark.parametrize("after", [False, True], ids=["before-a-rename", "after-a-rename"])
def test_batch_of_a_killed_worker_is_finished_by_repeating_it(lab: Lab, after: bool) -> None:
    before = [new_snapshot(lab, f"daily-{each}") for each in range(3)]
    bindings = [binding_of(lab, each) for each in before]

    with killed_at_rename(after):
        batch.manage_snapshots(lab.driver, bindings)
    managed = batch.manage_snapshots(lab.driver, bindings)
    with killed_at_rename(after):
        batch.unmanage_snapshots(lab.driver, bindings)
    unmanaged = batch.unmanage_snapshots(lab.driver, bindings)

    assert identities(managed) == [each.identity for each in bindings]
    assert unmanaged == [None] * 3
    assert sorted(lab.driver.list_snapshots(), key=by_name) == sorted(before, key=by_name)


@pytest.mark.active
def test_two_workers_with_overlapping_batches_rename_each_object_once(lab: Lab) -> None:
    bindings = bindings_of_new_snapshots(lab, 4)

    with ThreadPoolExecutor(2) as workers:
        shares = [workers.submit(batch.manage_snapshots, lab.driver, each) for each in (bindings[:3], bindings[1:])]

    assert [identities(each.result()) for each in shares] == [
        [each.identity for each in share] for share in (bindings[:3], bindings[1:])
    ]
    assert lab.names() == {each.managed_name for each in bindings}


@pytest.mark.no_kernel
def test_no_entry_is_done_if_the_backend_does_not_answer(lab: Lab) -> None:
    bindings = bindings_of_new_snapshots(lab, 2)
    before = lab.names()

    lab.go_away()
    try:
        for many in (
            lambda: batch.manage_snapshots(lab.driver, bindings),
            lambda: batch.find_snapshots(lab.driver, [Asked(Reference.named(lab.name_of("any")))] * 2),
        ):
            assert all_fail(many)
    finally:
        lab.come_back()

    assert lab.names() == before


def all_fail(many: Callable[[], Sequence[object]]) -> bool:
    """Return whether the call, or each entry of it, fails with an error that a retry may cure."""
    try:
        return all(isinstance(each, errors.BackendError) for each in many())
    except errors.BackendError:
        return True
