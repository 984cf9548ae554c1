"""Batches of the file driver: one write of the directory serves all renames, and one entry's trouble is its own."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.batch import Asked
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.progress import Progress, reported
from snapmanage.drivers.system import syscalls
from snapmanage.testing.contract.helpers import counted
from snapmanage.testing.needs import require
from tests.services.storage.fuse import mounted_by_other_user

NAMES = ("disk1.img@daily", "disk1.img@a@b", "disk2.img@line\nbreak")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("disk1.img", "disk2.img", *NAMES):
        (images / name).write_bytes(name.encode())
    return images


@pytest.fixture
def driver(folder: Path) -> FileDriver:
    return FileDriver(str(folder))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each rename and each write of a directory is added from now on."""
    steps = list[str]()
    for module, name in ((syscalls, "rename_noreplace"), (os, "fsync")):
        monkeypatch.setattr(module, name, preceded(getattr(module, name), partial(steps.append, name)))
    return steps


def preceded(function: Callable[..., object], step: Callable[[], None]) -> Callable[..., object]:
    """Return the function so that it calls `step` first."""

    def call(*arguments: object) -> object:
        step()
        return function(*arguments)

    return call


def asked(*names: str) -> list[Asked]:
    return [Asked(Reference.named(each)) for each in names]


def bindings_of(driver: FileDriver, *names: str) -> list[Binding]:
    found = [driver.find_snapshot(Reference.named(each)) for each in names]
    return [Binding(x.identity, x.name, driver.managed_name(x, f"snapshot-{uuid.uuid4()}")) for x in found]


def outcomes(results: list[BackendSnapshot | errors.SnapmanageError]) -> list[str | type]:
    """Return the name of each snapshot, and the type of each error."""
    return [each.name if isinstance(each, BackendSnapshot) else type(each) for each in results]


def test_directory_is_written_once_after_all_renames_of_a_batch(driver: FileDriver, steps: list[str]) -> None:
    bindings = bindings_of(driver, *NAMES)
    one_batch = [*["rename_noreplace"] * len(NAMES), "fsync"]

    managed = driver.manage_snapshots(bindings)
    after_manage = list(steps)
    unmanaged = driver.unmanage_snapshots(bindings)

    assert outcomes(managed) == [each.managed_name for each in bindings]
    assert unmanaged == [None] * len(NAMES)
    assert after_manage == one_batch
    assert steps == one_batch * 2


def test_batch_that_renames_nothing_makes_the_renames_of_a_dead_worker_durable(
    driver: FileDriver, steps: list[str]
) -> None:
    bindings = [Binding(each.identity, each.original_name, each.original_name) for each in bindings_of(driver, *NAMES)]

    assert outcomes(driver.manage_snapshots(bindings)) == list(NAMES)
    assert driver.unmanage_snapshots(bindings) == [None] * len(NAMES)
    assert steps == ["fsync"] * 2


def test_batch_of_failures_does_not_write_the_directory(driver: FileDriver, steps: list[str]) -> None:
    gone = Binding("1-1", "disk1.img@gone", "disk1.img@managed")

    assert outcomes(driver.manage_snapshots([gone])) == [errors.SourceNotFound]
    assert steps == []


def test_no_rename_is_done_as_long_as_the_directory_can_not_be_written(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bindings = bindings_of(driver, *NAMES)

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for act in (driver.manage_snapshots, driver.unmanage_snapshots):
            with pytest.raises(errors.BackendUnavailable):
                act(bindings)

    assert outcomes(driver.manage_snapshots(bindings)) == [each.managed_name for each in bindings]


def test_file_that_is_another_one_by_now_is_not_renamed(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    first, second = bindings_of(driver, *NAMES[:2])

    def replace_second() -> None:
        if not steps:
            (folder / second.original_name).rename(folder.parent / "moved away")
            (folder / second.original_name).write_bytes(b"new")

    monkeypatch.setattr(syscalls, "rename_noreplace", preceded(syscalls.rename_noreplace, replace_second))

    results = driver.manage_snapshots([first, second])

    assert outcomes(results) == [first.managed_name, errors.SourceNotFound]
    assert (folder / second.original_name).read_bytes() == b"new"
    assert steps.count("rename_noreplace") == 1


def test_every_entry_of_a_batch_has_its_own_result(driver: FileDriver, folder: Path) -> None:
    good = bindings_of(driver, *NAMES)
    theirs, long = folder / "disk1.img@theirs", Binding("1-1", f"disk1.img@{'x' * 250}", "disk1.img@managed")
    theirs.write_bytes(b"")
    other = bindings_of(driver, theirs.name)

    with mounted_by_other_user(theirs):
        found = driver.find_snapshots(asked(theirs.name, NAMES[0], long.original_name, "disk1.img", "a/b", NAMES[1]))
        managed = driver.manage_snapshots([*other, good[0], long, *good[1:]])
        unmanaged = driver.unmanage_snapshots([*other, good[0], long, *good[1:]])

    kinds = [errors.BackendPermission, errors.InvalidReference]
    assert outcomes(found) == [kinds[0], NAMES[0], kinds[1], errors.NotASnapshot, kinds[1], NAMES[1]]
    assert outcomes(managed) == [kinds[0], good[0].managed_name, kinds[1], *(each.managed_name for each in good[1:])]
    assert [type(each) for each in unmanaged] == [kinds[0], type(None), kinds[1], type(None), type(None)]


@contextmanager
def mounted_on_itself(path: Path) -> Iterator[None]:
    require("mount", "umount", root=True)
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_mount_on_a_file_refuses_its_rename_and_no_other(driver: FileDriver, folder: Path) -> None:
    bindings = bindings_of(driver, *NAMES)

    with mounted_on_itself(folder / NAMES[0]):
        results = driver.manage_snapshots(bindings)

    assert outcomes(results) == [errors.InUse, *(each.managed_name for each in bindings[1:])]


def test_many_volumes_are_found_as_one_is(driver: FileDriver) -> None:
    names = ("disk1.img", NAMES[0], "disk2.img", "absent")

    first, snapshot, second, absent = driver.find_volumes([Reference.named(each) for each in names])

    assert [first, second] == [driver.find_volume(Reference.named(each)) for each in ("disk1.img", "disk2.img")]
    assert (type(snapshot), type(absent)) == (errors.NotAVolume, errors.SourceNotFound)


def test_each_search_of_a_batch_is_reported_as_progress(driver: FileDriver) -> None:
    snapshots, volumes = asked(*NAMES), [Reference.named(each) for each in ("disk1.img", "disk2.img")]
    progress = Progress()

    with reported(progress):
        driver.find_snapshots(snapshots)
        after_snapshots = progress.begun, progress.current
        driver.find_volumes(volumes)

    assert after_snapshots == (3, snapshots[-1])
    assert (progress.begun, progress.current) == (5, volumes[-1])


def test_failed_search_for_a_moved_snapshot_fails_no_other(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    bindings = bindings_of(driver, *NAMES)
    driver.manage_snapshots(bindings)
    (folder / bindings[1].managed_name).rename(folder / "moved.img@elsewhere")

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        unmanaged = driver.unmanage_snapshots(bindings)

    assert [type(each) for each in unmanaged] == [type(None), errors.BackendUnavailable, type(None)]
    assert steps[-1] == "fsync"


def test_one_scan_finds_the_snapshots_that_were_renamed_with_their_volume(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bindings = bindings_of(driver, *NAMES)
    driver.manage_snapshots(bindings)
    for each in bindings[:2]:
        (folder / each.managed_name).rename(folder / each.managed_name.replace("disk1", "moved"))
    scans = list[object]()
    monkeypatch.setattr(os, "scandir", counted(os.scandir, scans))

    assert driver.unmanage_snapshots(bindings) == [None] * 3

    snapshots = {name for name in os.listdir(folder) if "@" in name}
    assert snapshots == {each.replace("disk1", "moved") for each in NAMES}
    assert len(scans) == 1
