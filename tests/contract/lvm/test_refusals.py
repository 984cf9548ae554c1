"""The driver reports which renames LVM would refuse; a listing and a search by name give the same reason.

They run on the installed lvm2, and also on that of Debian 13 if SNAPMANAGE_TRIXIE names a folder with that system.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import commands, privsep
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, loop_device, metadata_group
from tests.services.storage import lvm_oddities

TRIXIE = os.environ.get("SNAPMANAGE_TRIXIE", "")
WRITABLE = 'status = ["RESIZEABLE", "READ", "WRITE"]'


@pytest.fixture(params=["installed", *(["trixie"] if TRIXIE else [])])
def group(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    privsep.start()
    with metadata_group(tmp_path) as group:
        group.add_pool()
        group.add_thin_volumes("volume")
        group.add_thin_snapshots("volume", "daily", "weekly")
        if request.param == "trixie":
            prefer_trixie(tmp_path / "trixie", monkeypatch)
        yield group


def prefer_trixie(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the driver run the lvm2 of the other system, with that system's libraries."""
    folder.mkdir()
    loader = f"{TRIXIE}/lib64/ld-linux-x86-64.so.2 --library-path {TRIXIE}/lib/x86_64-linux-gnu"
    for name in ("lvs", "lvrename", "vgs"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {loader} {TRIXIE}/usr/sbin/lvm {name} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{folder}:{commands.ENVIRONMENT['PATH']}")


@pytest.fixture
def driver(group: MetadataGroup) -> LvmDriver:
    return LvmDriver(group.name, str(group.system_dir), 30)


def find(driver: LvmDriver, name: str) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named(name))


def assert_refused(driver: LvmDriver, binding: Binding, reason: str) -> None:
    """Assert that listing, searching by name, managing and renaming all report the snapshot as unusable."""
    [listed] = [found for found in driver.list_snapshots() if found.identity == binding.identity]
    assert listed.unsafe is Unsafe.UNUSABLE
    assert reason in listed.unsafe_reason
    with pytest.raises(errors.Unusable, match=reason):
        refuse_unsafe(find(driver, binding.original_name))
    with pytest.raises(errors.Unusable, match=reason):
        driver.manage_snapshot(binding)
    with pytest.raises(errors.Unusable):
        driver.rename(binding.original_name, binding.managed_name)


def bind(driver: LvmDriver, name: str = "daily") -> Binding:
    return Binding(find(driver, name).identity, name, "mine")


def test_snapshots_of_a_group_without_one_of_its_disks_are_unusable_until_it_is_back(
    group: MetadataGroup, driver: LvmDriver
) -> None:
    binding = bind(driver)
    with group.second_device() as device:
        group.devices.remove(device)
        group.configure()
        assert_refused(driver, binding, "lacks a physical volume")

        group.devices.append(device)
        group.configure()
        assert driver.manage_snapshot(binding).name == "mine"


def test_unmanage_in_a_group_without_one_of_its_disks_fails_without_a_retry(
    group: MetadataGroup, driver: LvmDriver
) -> None:
    binding = bind(driver)
    driver.manage_snapshot(binding)
    with group.second_device() as device:
        group.devices.remove(device)
        group.configure()

        with pytest.raises(errors.Unusable, match="attach"):
            driver.unmanage_snapshot(binding)


def test_snapshots_of_a_read_only_group_are_unusable(group: MetadataGroup, driver: LvmDriver) -> None:
    binding = bind(driver)
    group.rewrite(lambda metadata: metadata.replace(WRITABLE, 'status = ["RESIZEABLE", "READ"]', 1))

    assert_refused(driver, binding, "read-only")


def test_snapshots_beside_a_volume_of_an_unknown_kind_are_unusable(group: MetadataGroup, driver: LvmDriver) -> None:
    binding = bind(driver)
    group.add(lvm_oddities.unknown(group, "later"))

    assert_refused(driver, binding, "doesn't know")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ('system_id = "another-host"', "isn't allowed to use the group"),
        ('lock_type = "dlm"\nlock_args = "1.0.0:test"', "isn't allowed to use the group"),
        ('status = ["RESIZEABLE", "READ", "WRITE", "CLUSTERED"]', "isn't allowed to use the group"),
        ('status = ["RESIZEABLE", "READ", "WRITE", "EXPORTED"]', "vgimport"),
    ],
    ids=["of-another-host", "with-locks-of-a-cluster", "clustered", "exported"],
)
def test_group_that_this_host_may_not_use_is_unavailable_and_its_snapshots_are_not_gone(
    group: MetadataGroup, driver: LvmDriver, change: str, remedy: str
) -> None:
    binding = bind(driver)
    line = change if change.startswith("status") else f"{change}\n{WRITABLE}"
    group.rewrite(lambda metadata: metadata.replace(WRITABLE, line, 1))

    for act in (driver.list_snapshots, lambda: find(driver, "daily"), lambda: driver.manage_snapshot(binding)):
        with pytest.raises(errors.BackendUnavailable, match=remedy):
            act()


def test_snapshots_on_a_disk_that_lvm_sees_twice_are_unusable(group: MetadataGroup, driver: LvmDriver) -> None:
    binding = bind(driver)
    with duplicate(group, group.system_dir / "device"):
        assert_refused(driver, binding, "hide one")


def test_disk_of_another_group_that_lvm_sees_twice_prevents_no_rename(group: MetadataGroup, driver: LvmDriver) -> None:
    with loop_device(group.system_dir / "other") as device:
        group.devices.append(device)
        group.configure()
        group.lvm("vgcreate", "another-group", device)
        with duplicate(group, group.system_dir / "other"):
            assert driver.manage_snapshot(bind(driver)).name == "mine"


@contextmanager
def duplicate(group: MetadataGroup, device: Path) -> Iterator[None]:
    """Make lvm2 see a copy of the device beside it."""
    copy = group.system_dir / "copy"
    commands.run(["cp", "--sparse=always", str(device), str(copy)], "coreutils", 60)
    with loop_device(copy) as added:
        group.devices.append(added)
        group.configure()
        yield
        group.devices.remove(added)
        group.configure()


def test_failures_of_lvm2_are_distinguished_in_each_version(group: MetadataGroup, driver: LvmDriver) -> None:
    with pytest.raises(errors.BackendUnavailable, match=re.escape("attached")):
        LvmDriver("absent", str(group.system_dir), 30).list_snapshots()
    with pytest.raises(errors.SourceNotFound):
        driver.rename("absent", "new")
    with pytest.raises(errors.NameTaken):
        driver.rename("daily", "weekly")
    with pytest.raises(errors.Unusable):
        driver.rename("pool_tdata", "new")
    with group.lock_file().open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(errors.BackendBusy):
            LvmDriver(group.name, str(group.system_dir), 0.5).list_snapshots()


def test_report_and_rename_work_in_each_version(group: MetadataGroup, driver: LvmDriver) -> None:
    group.configure('log { prefix="## " report_command_log=1 } report { compact_output=1 output_format="json" }')
    binding = bind(driver)

    assert driver.manage_snapshot(binding).name == "mine"
    assert [found.name for found in driver.list_snapshots()] == ["mine", "weekly"]
