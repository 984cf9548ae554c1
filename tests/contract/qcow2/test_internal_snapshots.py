"""Snapshots inside images: how they are listed and identified, and how managing leaves them unchanged."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import refuse_foreign, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from tests.contract.qcow2.image_directory import SIZE, add_internal_snapshot, binding_of, find
from tests.services.storage import qemu


def test_internal_snapshots_are_listed_by_id_with_their_names_in_extra(driver: Qcow2Driver, folder: Path) -> None:
    for name in ("daily", "daily", "weekly"):
        add_internal_snapshot(folder, name)
    volume = driver.find_volume(Reference.named("disk.qcow2"))

    listed = driver.list_snapshots()

    assert [(each.name, each.extra["internal_name"]) for each in listed] == [
        ("disk.qcow2/1", "daily"),
        ("disk.qcow2/2", "daily"),
        ("disk.qcow2/3", "weekly"),
    ]
    assert {(each.parent, each.parent_identity, each.size_bytes) for each in listed} == {
        ("disk.qcow2", volume.identity, SIZE)
    }
    assert [find(driver, each.name) for each in listed] == listed


def test_internal_snapshot_keeps_the_size_that_it_was_taken_with(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "small")
    qemu.qemu_img("resize", "-q", "-f", "qcow2", folder / "disk.qcow2", str(4 * SIZE))

    assert find(driver, "disk.qcow2/1").size_bytes == SIZE
    assert driver.find_volume(Reference.named("disk.qcow2")).size_bytes == 4 * SIZE


def test_managing_an_internal_snapshot_changes_nothing_on_the_backend(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    before = (folder / "disk.qcow2").read_bytes()
    binding = binding_of(driver, "disk.qcow2/1")

    managed = driver.manage_snapshot(binding)
    again = driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert binding.managed_name == binding.original_name == managed.name
    assert managed == again == find(driver, "disk.qcow2/1")
    assert (folder / "disk.qcow2").read_bytes() == before


def test_internal_snapshot_that_is_gone_is_not_found(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    binding = binding_of(driver, "disk.qcow2/1")
    qemu.qemu_img("snapshot", "-d", "daily", folder / "disk.qcow2")

    with pytest.raises(errors.SourceNotFound, match="gone"):
        driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)
    with pytest.raises(errors.SourceNotFound, match="no snapshot with the ID '1'"):
        find(driver, "disk.qcow2/1")


def test_later_snapshot_with_the_same_id_has_another_identity(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    binding = binding_of(driver, "disk.qcow2/1")
    qemu.qemu_img("snapshot", "-d", "daily", folder / "disk.qcow2")
    add_internal_snapshot(folder, "daily")

    assert find(driver, "disk.qcow2/1").identity != binding.identity
    with pytest.raises(errors.SourceNotFound, match="another snapshot"):
        driver.manage_snapshot(binding)


def test_internal_snapshot_is_not_found_by_its_name(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")

    with pytest.raises(errors.SourceNotFound, match="qemu-img snapshot -l"):
        find(driver, "disk.qcow2/daily")


def test_internal_snapshot_is_refused_for_another_volume_and_as_a_volume(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "other.qcow2", SIZE)

    with pytest.raises(errors.WrongVolume):
        refuse_foreign(find(driver, "disk.qcow2/1", "other.qcow2"), "other.qcow2", None)
    with pytest.raises(errors.NotAVolume, match="is a snapshot inside"):
        driver.find_volume(Reference.named("disk.qcow2/1"))


def test_internal_snapshot_is_in_use_while_its_image_is_in_use(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")

    with qemu.held_open(folder / "disk.qcow2"), pytest.raises(errors.InUse):
        refuse_unsafe(find(driver, "disk.qcow2/1"))

    refuse_unsafe(find(driver, "disk.qcow2/1"))


def test_internal_snapshot_keeps_its_identity_after_its_file_is_managed(driver: Qcow2Driver, folder: Path) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    before = find(driver, "disk.qcow2/1")
    binding = binding_of(driver, "disk.qcow2")

    driver.manage_snapshot(binding)

    after = find(driver, f"{binding.managed_name}/1")
    assert (before.identity, before.parent) == (after.identity, "top.qcow2")


def test_internal_snapshot_is_managed_even_if_its_file_was_renamed_in_between(
    driver: Qcow2Driver, folder: Path
) -> None:
    add_internal_snapshot(folder, "daily")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    inside, outside = binding_of(driver, "disk.qcow2/1"), binding_of(driver, "disk.qcow2")
    driver.manage_snapshot(outside)

    managed = driver.manage_snapshot(inside)
    driver.unmanage_snapshot(inside)

    assert (managed.identity, managed.name) == (inside.identity, f"{outside.managed_name}/1")


def test_internal_snapshot_keeps_its_data_after_its_file_is_managed(driver: Qcow2Driver, folder: Path) -> None:
    qemu.qemu_io(folder / "disk.qcow2", "write -P 7 0 4096")
    add_internal_snapshot(folder, "daily")
    qemu.qemu_io(folder / "disk.qcow2", "write -P 8 0 4096")
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")
    binding = binding_of(driver, "disk.qcow2")

    driver.manage_snapshot(binding)

    command = ["convert", "-f", "qcow2", "-O", "raw", "-l", "snapshot.id=1"]
    qemu.qemu_img(*command, folder / binding.managed_name, folder / "copy.raw")
    assert (folder / "copy.raw").read_bytes()[:4096] == b"\7" * 4096
    qemu.qemu_img("check", "-q", "-f", "qcow2", folder / binding.managed_name)
