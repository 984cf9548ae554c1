"""Batches: one report serves all objects of a batch, counted in processes of lvm2."""

import fcntl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers.batch import Asked, NotTried
from snapmanage.drivers.lvm import privileged
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import commands, privsep
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group

DEADLINE_SECONDS = 60
NUMBER = 4
MANY = privileged.MOST_SELECTED + 1


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    privsep.start()
    with metadata_group(tmp_path) as group:
        group.add_pool()
        group.add_thin_volumes("volume")
        group.add_thin_snapshots("volume", *(f"daily-{number}" for number in range(NUMBER)))
        yield group


@pytest.fixture
def driver(group: MetadataGroup) -> LvmDriver:
    return LvmDriver(group.name, str(group.system_dir), DEADLINE_SECONDS)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return the number of processes of each command; a test may clear it."""
    started, run = Counter[str](), commands.run

    def counted(argv: Sequence[str], *arguments: Any, **named: Any) -> commands.CompletedCommand:
        started[argv[0]] += 1
        return run(argv, *arguments, **named)

    monkeypatch.setattr(commands, "run", counted)
    return started


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass for the driver, so that every report stays fresh on a slow machine too."""
    now = time.monotonic()
    monkeypatch.setattr("snapmanage.drivers.lvm.renamer.time.monotonic", lambda: now)


def bindings_of(driver: LvmDriver) -> list[Binding]:
    found = sorted(driver.list_snapshots(), key=lambda each: each.name)
    return [Binding(each.identity, each.name, f"mine-{each.name}") for each in found]


def names(results: Sequence[object]) -> list[object]:
    """Return the name of each snapshot, and the type of each other result."""
    return [each.name if isinstance(each, BackendSnapshot) else type(each) for each in results]


def test_one_report_finds_a_batch(driver: LvmDriver, processes: Counter[str]) -> None:
    asked = [Asked(Reference.named(f"daily-{number}")) for number in range(NUMBER)]

    found = driver.find_snapshots([*asked, Asked(Reference.named("absent")), Asked(Reference.named("a b"))])
    volumes = driver.find_volumes([Reference.named(name) for name in ("volume", "daily-0", "absent")])

    assert names(found)[:NUMBER] == [f"daily-{number}" for number in range(NUMBER)]
    assert names(found)[NUMBER:] == [errors.SourceNotFound, errors.InvalidReference]
    assert [type(each).__name__ for each in volumes] == ["BackendVolume", "NotAVolume", "SourceNotFound"]
    assert processes == {"lvs": 2}


def test_illegal_names_alone_need_no_report(driver: LvmDriver, processes: Counter[str]) -> None:
    [found] = driver.find_snapshots([Asked(Reference.named("a b"))])
    [managed] = driver.manage_snapshots([Binding("any", "a b", "a b")])

    assert (type(found), type(managed)) == (errors.InvalidReference, errors.InvalidReference)
    assert processes == {}


@pytest.mark.usefixtures("still")
def test_two_reports_serve_the_renames_of_a_batch(driver: LvmDriver, processes: Counter[str]) -> None:
    bindings = bindings_of(driver)

    for many in (driver.manage_snapshots, driver.unmanage_snapshots):
        processes.clear()
        many(bindings)
        assert processes == {"lvs": 2, "lvrename": NUMBER}


def test_one_report_manages_a_batch_without_a_rename(driver: LvmDriver, processes: Counter[str]) -> None:
    bindings = [Binding(each.identity, each.original_name, each.original_name) for each in bindings_of(driver)]

    for many in (driver.manage_snapshots, driver.unmanage_snapshots):
        processes.clear()
        many(bindings)
        assert processes == {"lvs": 1}


def test_name_that_lvm_cannot_have_is_an_error_of_its_own_operation(driver: LvmDriver, group: MetadataGroup) -> None:
    first, reserved, impossible, last = bindings_of(driver)
    reserved = Binding(reserved.identity, reserved.original_name, "snapshot1")
    impossible = Binding(impossible.identity, impossible.original_name, 'x" || lv_name=~".*')

    results = driver.manage_snapshots([first, reserved, impossible, last])

    refused = [errors.InvalidReference] * 2
    assert names(results) == [first.managed_name, *refused, last.managed_name]
    renamed = {first.managed_name, last.managed_name}
    assert group.names() - {"pool", "volume"} == renamed | {reserved.original_name, impossible.original_name}


def test_batch_with_more_names_than_lvm2_selects_is_managed_alike(
    driver: LvmDriver, group: MetadataGroup, processes: Counter[str]
) -> None:
    group.add_thin_snapshots("volume", *(f"more-{number}" for number in range(MANY)))
    bindings = [Binding(each.identity, each.original_name, each.original_name) for each in bindings_of(driver)]
    processes.clear()

    found = driver.find_snapshots([Asked(Reference.named(each.original_name)) for each in bindings])
    managed = driver.manage_snapshots(bindings)

    assert found == managed == sorted(driver.list_snapshots(), key=lambda each: each.name)
    assert len(found) == NUMBER + MANY
    assert processes == {"lvs": 3}


def test_object_that_got_a_name_during_the_batch_is_not_renamed_if_the_report_is_too_old(
    driver: LvmDriver, group: MetadataGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = bindings_of(driver)
    renames = after_first_rename(monkeypatch, lambda: give_name_to_another(group, second.original_name))
    monkeypatch.setattr("snapmanage.drivers.lvm.renamer.LEAST_FRESH_SECONDS", 0.0)
    monkeypatch.setattr("snapmanage.drivers.lvm.renamer.MOST_FRESH_SECONDS", 0.0)

    results = driver.manage_snapshots([first, second])

    assert names(results) == [first.managed_name, errors.SourceNotFound]
    assert {second.original_name, "moved"} <= group.names()
    assert renames == [first.original_name]


@pytest.mark.usefixtures("still")
def test_object_that_got_a_name_during_the_batch_has_it_again_after_the_batch(
    driver: LvmDriver, group: MetadataGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = bindings_of(driver)
    after_first_rename(monkeypatch, lambda: give_name_to_another(group, second.original_name))

    results = driver.manage_snapshots([first, second])

    assert names(results) == [first.managed_name, errors.SourceNotFound]
    other = driver.find_snapshot(Reference.named(second.original_name))
    assert other.identity != second.identity
    assert second.managed_name not in group.names()


def after_first_rename(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> list[str]:
    """Let the operator act once, right after the first rename; return the list of the names that are renamed."""
    rename, renames = privileged.lvrename, list[str]()

    def renamed(group: str, old: str, *arguments: Any) -> commands.CompletedCommand:
        completed: commands.CompletedCommand = rename(group, old, *arguments)
        renames.append(old)
        if len(renames) == 1:
            act()
        return completed

    monkeypatch.setattr(privileged, "lvrename", renamed)
    return renames


def give_name_to_another(group: MetadataGroup, name: str) -> None:
    group.lvm("lvrename", group.name, name, "moved")
    group.add_thin_snapshots("volume", name)


def test_lock_that_is_held_for_long_is_awaited_once_and_costs_one_attempt_of_a_batch(
    group: MetadataGroup, driver: LvmDriver, processes: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bindings = bindings_of(driver)
    hurried = LvmDriver(group.name, str(group.system_dir), 2)
    processes.clear()

    with ExitStack() as locks:
        monkeypatch.setattr(
            "snapmanage.drivers.renaming.crash.at",
            lambda point: locks.enter_context(locked(group)) if point is Point.BATCH_LOOKED else None,
        )
        failed = hurried.manage_snapshots(bindings)
    monkeypatch.undo()

    assert names(failed) == [errors.BackendBusy, *[NotTried] * (NUMBER - 1)]
    assert processes == {"lvs": 2, "lvrename": 1}
    assert names(driver.manage_snapshots(bindings)) == [each.managed_name for each in bindings]


@contextmanager
def locked(group: MetadataGroup) -> Iterator[None]:
    """Hold the group's lock, as a long command of lvm2 does."""
    with group.lock_file().open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
