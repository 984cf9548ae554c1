"""Many snapshots of a btrfs at once: what a batch reads, and the check of each snapshot right before its rename."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapmanage import crash, errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers.batch import Asked
from snapmanage.drivers.btrfs import privileged, trees
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.drivers.system import syscalls
from snapmanage.testing.contract.helpers import counted
from snapmanage.testing.services.storage.btrfs import Btrfs
from tests.contract.btrfs.helpers import bind
from tests.contract.labs.btrfs import BtrfsLab

Calls = list[Any]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Collect the searches of all subvolumes."""
    calls: Calls = []
    monkeypatch.setattr(trees, "read", counted(trees.read, calls))
    return calls


@pytest.fixture
def daily(btrfs: Btrfs) -> list[str]:
    names = [f"daily-{number}" for number in range(10)]
    btrfs.add_snapshots("volume-1", *names)
    return names


def asked(*names: str) -> list[Asked]:
    return [Asked(Reference.named(each)) for each in names]


def kinds(results: list[object]) -> list[type | None]:
    """Return the type of each error; None for each other result."""
    return [type(each) if isinstance(each, Exception) else None for each in results]


def failing_search(fd: int) -> None:
    raise OSError(errno.EIO, "the disk fails")


def do_at(point: Point, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the function when the driver reaches the point for the first time."""
    acts = [act]

    def at(reached: Point) -> None:
        if reached is point and acts:
            acts.pop()()

    monkeypatch.setattr(crash, "at", at)


def test_batch_reads_only_its_own_subvolumes(driver: BtrfsDriver, daily: list[str], searches: Calls) -> None:
    found = driver.find_snapshots([*asked(*daily), *asked("missing", "missing/daily", "/invalid")])
    driver.find_volumes([Reference.named("volume-1"), Reference.named("missing")])
    bindings = [bind(driver, name) for name in daily]
    managed = driver.manage_snapshots(bindings)
    again = driver.manage_snapshots(bindings)
    unmanaged = driver.unmanage_snapshots(bindings)

    missing = [errors.SourceNotFound, errors.SourceNotFound, errors.InvalidReference]
    assert kinds([*found]) == [None] * 10 + missing
    assert managed == again
    assert kinds([*managed, *unmanaged]) == [None] * 20
    assert searches == []


def test_lookup_costs_the_same_however_many_subvolumes_there_are(
    btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def calls(*names: str) -> int:
        made: Calls = []
        with monkeypatch.context() as patch:
            patch.setattr("fcntl.ioctl", counted(fcntl.ioctl, made))
            driver.find_snapshots(asked(*names))
        return len(made)

    one, ten = calls(daily[0]), calls(*daily)
    btrfs.add_snapshots("volume-1", *(f"other-{number}" for number in range(500)))

    assert (calls(daily[0]), calls(*daily)) == (one, ten)
    # The entry of the folder, the root item with its place, and the quotas, which are off.
    assert ten - one == 9 * 3


def test_lookup_finds_what_a_search_of_all_subvolumes_finds(
    btrfs: Btrfs, searches: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = BtrfsLab(btrfs)
    lab.add_oddities()
    (lab.folder / ".snapshots/1/info.xml").write_text(
        "<snapshot><date>2026-11-30 13:15:39</date><description>text</description></snapshot>"
    )
    listed = {each.name: each for each in lab.driver.list_snapshots()}
    searches.clear()

    found = {name: lab.driver.find_snapshot(Reference.named(name)) for name in listed}

    assert found == listed
    assert len(searches) < len(listed) / 2


@pytest.mark.parametrize("odd", ["of-the-gone", "./\\xff"])
def test_one_search_serves_a_batch_with_names_that_no_lookup_can_decide(
    odd: str, btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], searches: Calls
) -> None:
    btrfs.add_volume("gone")
    btrfs.add_snapshots("gone", "of-the-gone", b"\xff".decode(errors="surrogateescape"))
    btrfs.remove("gone")

    found = driver.find_snapshots(asked(*daily, odd, odd))

    assert kinds([*found]) == [None] * 12
    assert len(searches) == 1


def test_failed_search_fails_only_the_names_that_no_lookup_can_decide(
    btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    btrfs.add_volume("gone")
    btrfs.add_snapshots("gone", "of-the-gone")
    btrfs.remove("gone")
    bindings = [bind(driver, name) for name in (daily[0], "of-the-gone", daily[1])]
    monkeypatch.setattr(trees, "read", failing_search)

    found = driver.find_snapshots(asked(daily[0], "of-the-gone", daily[1]))
    volumes = driver.find_volumes([Reference.named(name) for name in ("volume-1", daily[0])])
    managed = driver.manage_snapshots(bindings)

    assert kinds([*found]) == [None, errors.BackendUnavailable, None]
    assert kinds([*volumes]) == [None, errors.BackendUnavailable]
    assert kinds([*managed]) == [None, errors.BackendUnavailable, None]
    assert btrfs.snapshots() >= {bindings[0].managed_name, "of-the-gone", bindings[2].managed_name}


def test_gone_snapshot_alone_has_the_error_of_a_failed_search(
    btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, gone, last = bindings = [bind(driver, name) for name in daily[:3]]
    # The name of the gone snapshot belongs to another one of the batch.
    same_name = Binding(gone.identity, first.original_name, gone.managed_name)
    btrfs.remove(gone.original_name)
    monkeypatch.setattr(trees, "read", failing_search)

    managed = driver.manage_snapshots([first, gone, same_name, last])
    unmanaged = driver.unmanage_snapshots(bindings)

    assert kinds([*managed]) == [None, errors.BackendUnavailable, errors.BackendUnavailable, None]
    assert kinds([*unmanaged]) == [None, errors.BackendUnavailable, None]
    assert btrfs.snapshots() >= {first.original_name, last.original_name}


def test_snapshot_in_a_damaged_subvolume_fails_alone(btrfs: Btrfs, driver: BtrfsDriver, daily: list[str]) -> None:
    btrfs.add_volume("damaged")
    btrfs.add_snapshots("volume-1", "damaged/weekly")
    names = [daily[0], "damaged/weekly", daily[1]]
    bindings = [bind(driver, name) for name in names]
    btrfs.damage("damaged")

    assert kinds([*driver.find_snapshots(asked(*names))]) == [None] * 3
    assert kinds([*driver.manage_snapshots(bindings)]) == [None, errors.Unusable, None]


def test_read_only_snapshot_with_snapshots_is_found_as_a_volume_in_one_search(
    btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], searches: Calls
) -> None:
    btrfs.add_snapshots("daily-1", "of-daily-1")

    found = driver.find_volumes([Reference.named(name) for name in ("daily-1", "daily-2", "volume-1")])

    assert kinds([*found]) == [None, errors.NotAVolume, None]
    assert len(searches) == 1


def test_empty_folder_that_stands_for_a_subvolume_in_a_snapshot_is_no_subvolume(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_volume("volume-1/inner")
    btrfs.add_snapshots("volume-1", "daily", read_only=False)
    inner = driver.find_volume(Reference.named("volume-1/inner"))

    assert (btrfs.top / "daily/inner").is_dir()
    with pytest.raises(errors.SourceNotFound):
        driver.find_volume(Reference.named("daily/inner"))
    with pytest.raises(errors.SourceNotFound):
        driver.renamer().rename_if_still("daily/inner", "daily/other", inner.identity)
    driver.renamer().rename_if_still("volume-1/inner", "volume-1/other", inner.identity)


def test_snapshot_that_takes_the_name_after_the_look_is_not_renamed(
    btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bindings = [bind(driver, name) for name in daily[:3]]
    renames: Calls = []
    monkeypatch.setattr(syscalls, "rename_noreplace", counted(syscalls.rename_noreplace, renames))

    def replace_second() -> None:
        (btrfs.top / "daily-1").rename(btrfs.top / "moved")
        btrfs.add_snapshots("volume-1", "daily-1")

    do_at(Point.BATCH_LOOKED, replace_second, monkeypatch)
    managed = driver.manage_snapshots(bindings)

    assert kinds([*managed]) == [None, errors.SourceNotFound, None]
    assert len(renames) == 2
    assert btrfs.snapshots() >= {"daily-1", "moved", bindings[0].managed_name, bindings[2].managed_name}


def test_snapshot_that_takes_the_name_after_the_check_gets_it_back(
    btrfs: Btrfs, driver: BtrfsDriver, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bindings = [bind(driver, name) for name in daily[:3]]
    rename = syscalls.rename_noreplace

    def replace_and_rename(directory_fd: int, old: str, new: str) -> None:
        if old == "daily-1":
            monkeypatch.setattr(syscalls, "rename_noreplace", rename)
            (btrfs.top / "daily-1").rename(btrfs.top / "moved")
            btrfs.add_snapshots("volume-1", "daily-1")
        rename(directory_fd, old, new)

    monkeypatch.setattr(syscalls, "rename_noreplace", replace_and_rename)
    managed = driver.manage_snapshots(bindings)

    assert kinds([*managed]) == [None, errors.SourceNotFound, None]
    assert btrfs.snapshots() >= {"daily-1", "moved", bindings[0].managed_name, bindings[2].managed_name}


@pytest.mark.parametrize("name", ["directory", "missing", "weekly", "snapshots/missing"])
def test_only_the_subvolume_with_the_identity_is_renamed(
    name: str, btrfs: Btrfs, driver: BtrfsDriver, binding: Binding
) -> None:
    (btrfs.top / "directory").mkdir()
    btrfs.add_snapshots("volume-1", "weekly")
    before = sorted(btrfs.top.rglob("*"))
    place = name.rpartition("/")[0]

    for identity in (binding.identity, ""):
        with pytest.raises(errors.SourceNotFound):
            driver.renamer().rename_if_still(name, f"{place}/new".lstrip("/"), identity)

    assert sorted(btrfs.top.rglob("*")) == before


def test_each_folder_is_synchronized_once_for_a_batch(
    btrfs: Btrfs, driver: BtrfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{place}/{number}" for place in ("a", "b") for number in range(3)]
    for place in ("a", "b"):
        (btrfs.top / place).mkdir()
    btrfs.add_snapshots("volume-1", *names)
    bindings = [bind(driver, name) for name in names]
    syncs: Calls = []
    monkeypatch.setattr("os.fsync", counted(os.fsync, syncs))

    driver.manage_snapshots(bindings)

    assert len(syncs) == 2
    assert all(Path(each.managed_name).name in btrfs.on_disk() for each in bindings)


def test_folder_that_can_not_be_synchronized_fails_its_own_snapshots_only(
    btrfs: Btrfs, driver: BtrfsDriver, binding: Binding, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = privileged.sync_names

    def fail_in_snapshots(path: str, file_system: str, name: str) -> None:
        if name.startswith("snapshots/"):
            raise errors.BackendUnavailable("the disk fails")
        sync(path, file_system, name)

    monkeypatch.setattr(privileged, "sync_names", fail_in_snapshots)
    bindings = [bind(driver, daily[0]), binding, bind(driver, daily[1])]

    assert kinds([*driver.manage_snapshots(bindings)]) == [None, errors.BackendUnavailable, None]
    assert kinds([*driver.unmanage_snapshots(bindings)]) == [None, errors.BackendUnavailable, None]


def test_moved_and_gone_snapshots_of_a_batch_are_unmanaged_with_the_others(
    btrfs: Btrfs, driver: BtrfsDriver, binding: Binding, daily: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *there = [bind(driver, name) for name in daily[:3]]
    btrfs.add_snapshots("volume-1", "snapshots/second")
    moved = [binding, bind(driver, "snapshots/second")]
    bindings = [gone, there[0], *moved, there[1]]
    assert kinds([*driver.manage_snapshots(bindings)]) == [None] * 5
    btrfs.remove(gone.managed_name)
    (btrfs.top / "snapshots").rename(btrfs.top / "elsewhere")
    located: Calls = []
    synced: Calls = []
    monkeypatch.setattr(privileged, "locate", counted(privileged.locate, located))
    monkeypatch.setattr(privileged, "sync_names", counted(privileged.sync_names, synced))

    assert driver.unmanage_snapshots(bindings) == [None] * 5

    assert btrfs.snapshots() == {*daily[1:], "elsewhere/daily", "elsewhere/second"}
    assert len(located) == 1
    assert {os.path.dirname(name) for _, _, name in synced} == {"", "elsewhere"}


def test_snapshot_that_was_moved_out_of_the_folder_is_left_alone(btrfs: Btrfs) -> None:
    (btrfs.top / "snapshots").mkdir()
    btrfs.add_snapshots("volume-1", "snapshots/daily", read_only=False)
    driver = BtrfsDriver(str(btrfs.top / "snapshots"))
    found = driver.find_snapshot(Reference.named("daily"))
    moved = Binding(found.identity, "daily", driver.managed_name(found, "snapshot-1"))
    driver.manage_snapshot(moved)
    (btrfs.top / "snapshots/snapshot-1").rename(btrfs.top / "snapshot-1")

    driver.unmanage_snapshot(moved)

    assert btrfs.snapshots() == {"snapshot-1"}


def test_name_that_another_snapshot_has_is_refused_alone(btrfs: Btrfs, driver: BtrfsDriver, daily: list[str]) -> None:
    first, second, third = (bind(driver, name) for name in daily[:3])
    btrfs.add_snapshots("volume-1", second.managed_name)

    assert kinds([*driver.manage_snapshots([first, second, third])]) == [None, errors.NameTaken, None]
