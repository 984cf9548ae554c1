"""Batches on ZFS: the number of its commands, and the objects that appear, vanish and change during a batch."""

from collections import Counter
from collections.abc import Callable

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.batch import Asked
from snapmanage.drivers.system import commands
from snapmanage.drivers.system.commands import CompletedCommand
from snapmanage.drivers.zfs import renamer
from tests.contract.labs.zfs import ZfsLab
from tests.contract.zfs.helpers import bind, new_binding

ODD_WORDS = ("-x", " a b ", "c:d", "e.f_g", "daily")


def watch(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """Return a count of the commands of the driver from now on, such as `get` and `rename`; call `before` each."""
    run, counts = commands.run, Counter[str]()

    def count_and_run(argv: list[str], *arguments: object, **named: object) -> CompletedCommand:
        counts[argv[1]] += 1
        before(argv[1])
        return run(argv, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(commands, "run", count_and_run)
    return counts


def new_bindings(lab: ZfsLab, number: int = 3) -> list[Binding]:
    return [new_binding(lab, f"daily-{each}") for each in range(number)]


def asked(*names: str) -> list[Asked]:
    return [Asked(Reference.named(each)) for each in names]


def outcomes(results: list[BackendSnapshot | errors.SnapmanageError]) -> list[str | type]:
    """Return the name of each snapshot, and the type of each error."""
    return [each.name if isinstance(each, BackendSnapshot) else type(each) for each in results]


def test_one_report_finds_a_batch_and_two_rename_it(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = [new_binding(lab, word) for word in ODD_WORDS]
    counts = watch(monkeypatch)

    found = lab.driver.find_snapshots(asked(*(each.original_name for each in bindings)))
    after_find = Counter(counts)
    managed = lab.driver.manage_snapshots(bindings)
    after_manage = counts - after_find
    unmanaged = lab.driver.unmanage_snapshots(bindings)

    assert outcomes(found) == [each.original_name for each in bindings]
    assert outcomes(managed) == [each.managed_name for each in bindings]
    assert unmanaged == [None] * len(bindings)
    assert after_find == {"get": 1}
    assert after_manage == counts - after_find - after_manage == {"get": 2, "rename": len(bindings)}


def test_batch_without_renames_needs_one_report(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = [Binding(each.identity, each.original_name, each.original_name) for each in new_bindings(lab)]
    counts = watch(monkeypatch)

    managed = lab.driver.manage_snapshots(bindings)
    after_manage = Counter(counts)
    unmanaged = lab.driver.unmanage_snapshots(bindings)

    assert outcomes(managed) == [each.original_name for each in bindings]
    assert unmanaged == [None] * len(bindings)
    assert after_manage == counts - after_manage == {"get": 1}


def test_one_report_finds_many_volumes(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [lab.volume, *(lab.add_volume(f"volume-{number}") for number in range(2, 5))]
    one_by_one = [lab.driver.find_volume(Reference.named(each)) for each in names]
    refused = [new_binding(lab).original_name, f"{lab.dataset}/absent", lab.pool, "a#b"]
    counts = watch(monkeypatch)

    results = lab.driver.find_volumes([Reference.named(each) for each in (*refused, *names)])

    kinds = [errors.NotAVolume, errors.SourceNotFound, errors.SourceNotFound, errors.InvalidReference]
    assert [type(each) for each in results[: len(refused)]] == kinds
    assert results[len(refused) :] == one_by_one
    assert counts == {"get": 1}


def test_damaged_object_and_missing_ones_leave_the_rest_of_a_batch_alone(lab: ZfsLab) -> None:
    gone, *good = new_bindings(lab)
    lab.add_snapshot(f"{lab.add_volume('other')}@daily")
    damaged = bind(lab, f"{lab.dataset}/other@daily")
    lab.remove(gone.original_name)
    lab.damage(f"{lab.dataset}/other")
    batch = [damaged, good[0], gone, good[1]]

    found = lab.driver.find_snapshots(asked(*(each.original_name for each in batch)))
    managed = lab.driver.manage_snapshots(batch)
    unmanaged = lab.driver.unmanage_snapshots(batch)

    unreadable, absent = errors.BackendError, errors.SourceNotFound
    assert outcomes(found) == [unreadable, good[0].original_name, absent, good[1].original_name]
    assert outcomes(managed) == [unreadable, good[0].managed_name, absent, good[1].managed_name]
    # The damage also hides a part of the pool, in which the missing object could be.
    assert [type(each) for each in unmanaged] == [unreadable, type(None), unreadable, type(None)]


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh-report", "old-report"])
def test_snapshot_that_takes_an_old_name_during_a_batch_keeps_or_regains_it(
    lab: ZfsLab, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    first, second = new_bindings(lab, 2)

    def replace_second(command: str) -> None:
        if command == "rename" and counts["rename"] == 1:
            lab.remove(second.original_name)
            lab.add_snapshot(second.original_name)

    # As long as a rename takes at most, or shorter than any.
    monkeypatch.setattr(renamer, "FRESH_SECONDS", 600 if fresh else 0)
    counts = watch(monkeypatch, replace_second)

    results = lab.driver.manage_snapshots([first, second])

    assert outcomes(results) == [first.managed_name, errors.SourceNotFound]
    assert lab.names() == {first.managed_name, second.original_name}
    # With a fresh report, the snapshot is renamed, and back.
    assert counts["rename"] == (3 if fresh else 1)


def test_one_search_finds_the_objects_whose_dataset_was_renamed(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = [*new_bindings(lab, 2), new_binding(lab, "gone")]
    lab.driver.manage_snapshots(bindings)
    lab.remove(bindings[-1].managed_name)
    lab.zfs.run("zfs", "rename", lab.volume, f"{lab.dataset}/moved")
    lab.zfs.run("zfs", "create", lab.volume)
    bindings.append(new_binding(lab, "stays"))
    lab.driver.manage_snapshot(bindings[-1])
    counts = watch(monkeypatch)

    assert lab.driver.unmanage_snapshots(bindings) == [None] * 4

    moved = {each.original_name.replace(lab.volume, f"{lab.dataset}/moved") for each in bindings[:2]}
    assert lab.names() == {*moved, bindings[-1].original_name}
    # Two reports for the names, two for those in the renamed dataset, and the search.
    assert counts["get"] == 5


def test_identities_of_earlier_releases_are_renewed_by_one_report(lab: ZfsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    present, *others = new_bindings(lab)
    old = [Binding(x.identity.rpartition("-")[0], x.original_name, x.managed_name) for x in others]
    counts = watch(monkeypatch)

    managed = lab.driver.manage_snapshots([old[0], present, old[1]])

    assert outcomes(managed) == [others[0].managed_name, present.managed_name, others[1].managed_name]
    assert counts["get"] == 3
