"""Behaviour of the driver that is special to LVM and needs metadata only: real commands on a loop device."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.lvm import names, privileged
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import EXTENT_BYTES, POOL, MetadataGroup, metadata_group

DEADLINE_SECONDS = 30
POOL_PARTS = ("pool_tdata", "pool_tmeta", "lvol0_pmspare")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    privsep.start()
    with metadata_group(tmp_path) as group:
        group.add_volumes("thick-1", "thick-2")
        group.add_thick_snapshots("thick-1", "thick-daily")
        group.add_pool()
        group.add_thin_volumes("thin-1")
        group.add_thin_snapshots("thin-1", "thin-daily")
        yield group


@pytest.fixture
def driver(group: MetadataGroup) -> LvmDriver:
    return configured(group)


def configured(group: MetadataGroup, name: str | None = None, seconds: float = DEADLINE_SECONDS) -> LvmDriver:
    return LvmDriver(name or group.name, str(group.system_dir), seconds)


def test_thick_and_thin_snapshots_are_listed_with_the_size_of_their_data(driver: LvmDriver) -> None:
    listed = {found.name: (found.parent, found.size_bytes) for found in driver.list_snapshots()}

    assert listed == {"thick-daily": ("thick-1", 2 * EXTENT_BYTES), "thin-daily": ("thin-1", 8 * EXTENT_BYTES)}


def test_volumes_and_the_pool_with_its_parts_are_not_snapshots(driver: LvmDriver) -> None:
    for name in ("thick-1", "thick-2", "thin-1", POOL, *POOL_PARTS):
        with pytest.raises(errors.NotASnapshot):
            driver.find_snapshot(Reference.named(name))


def test_snapshots_and_the_pool_with_its_parts_are_not_volumes(driver: LvmDriver) -> None:
    for name in ("thick-daily", "thin-daily", POOL, *POOL_PARTS):
        with pytest.raises(errors.NotAVolume):
            driver.find_volume(Reference.named(name))


def test_thin_snapshot_without_origin_is_not_listed_but_found_by_its_name(
    driver: LvmDriver, group: MetadataGroup
) -> None:
    group.remove_thin("thin-1")

    assert "thin-daily" not in {found.name for found in driver.list_snapshots()}
    assert driver.find_snapshot(Reference.named("thin-daily")).parent is None


def test_pool_with_the_mark_of_an_orphan_is_not_a_snapshot(driver: LvmDriver, group: MetadataGroup) -> None:
    group.add_thin_volumes("ordinary")
    group.lvm("lvchange", "--setactivationskip", "y", f"{group.name}/{POOL}")

    for name in (POOL, "ordinary"):
        with pytest.raises(errors.NotASnapshot):
            driver.find_snapshot(Reference.named(name))


def test_name_that_lvm_reserves_gets_an_underscore_in_front(driver: LvmDriver) -> None:
    found = driver.find_snapshot(Reference.named("thin-daily"))

    assert driver.managed_name(found, "snapshot-1") == "_snapshot-1"
    assert driver.managed_name(found, "mine-1") == "mine-1"


def test_error_for_an_illegal_name_names_the_template(driver: LvmDriver) -> None:
    found = driver.find_snapshot(Reference.named("thin-daily"))

    for name in ("x_tdata-1", "x" * 128, "a b", "-a", ""):
        with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
            driver.managed_name(found, name)


def test_snapshot_whose_name_could_not_be_restored_is_refused(driver: LvmDriver, group: MetadataGroup) -> None:
    name = "x" * 114
    group.add_thin_snapshots("thin-1", name)
    found = driver.find_snapshot(Reference.named(name))

    with pytest.raises(errors.Unusable, match="restored at unmanage"):
        refuse_unsafe(found)


def test_lvm_itself_reserves_every_name_that_the_driver_refuses_as_reserved(group: MetadataGroup) -> None:
    for name in (*names.RESERVED_BEGINNINGS, *(f"x{part}y" for part in names.RESERVED_PARTS)):
        with pytest.raises(AssertionError, match=r"ended with 3: (?s:.*)are reserved"):
            group.lvm("lvrename", group.name, "thin-daily", name)


def test_illegal_name_is_refused_before_it_reaches_a_command(driver: LvmDriver) -> None:
    with pytest.raises(errors.InvalidReference):
        driver.rename("thin-daily", "snapshot-1")
    with pytest.raises(errors.InvalidReference):
        privileged.lvs("test-group", ['x" || lv_name=~".*'], "", DEADLINE_SECONDS)
    [error] = driver.look('x" || lv_name=~".*').values()
    assert isinstance(error, errors.InvalidReference)


def test_failures_of_lvrename_become_errors_of_snapmanage(driver: LvmDriver) -> None:
    with pytest.raises(errors.SourceNotFound):
        driver.rename("absent", "new")
    with pytest.raises(errors.NameTaken):
        driver.rename("thin-daily", "thick-daily")
    with pytest.raises(errors.Unusable, match="a part of another"):
        driver.rename("pool_tdata", "new")


def test_missing_group_is_an_error_that_is_retried(group: MetadataGroup) -> None:
    with pytest.raises(errors.BackendUnavailable, match="attached"):
        configured(group, "absent").list_snapshots()


@pytest.mark.parametrize("name", [None, "", "no group"])
def test_error_for_a_group_that_is_not_configured_names_the_option(name: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="volume_group"):
        LvmDriver(name).check()


def test_locked_group_is_busy_once_the_deadline_has_passed(group: MetadataGroup, driver: LvmDriver) -> None:
    found = driver.find_snapshot(Reference.named("thin-daily"))
    hurried = configured(group, seconds=0.2)

    with group.lock_file().open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(errors.BackendBusy):
            hurried.list_snapshots()
        with pytest.raises(errors.BackendBusy):
            hurried.rename("thin-daily", "late")

    assert driver.find_snapshot(Reference.named("thin-daily")) == found
