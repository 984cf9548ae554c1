"""The options of the qcow2 driver and its managed names."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from tests.contract.qcow2.image_directory import SIZE, find
from tests.services.storage import qemu


@pytest.mark.parametrize("directory", [None, "images", "./images"])
def test_directory_that_is_not_an_absolute_path_is_an_error_with_the_remedy(directory: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="absolute path"):
        Qcow2Driver(directory).check()


def test_managed_name_keeps_the_extension_of_the_file(driver: Qcow2Driver, folder: Path) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")

    assert driver.managed_name(find(driver, "disk.qcow2"), "snapshot-1") == "snapshot-1.qcow2"


@pytest.mark.parametrize("template", ["a/b", "x" * 240, "a\0b", ".hidden"])
def test_template_that_makes_no_file_name_is_a_configuration_error(
    driver: Qcow2Driver, folder: Path, template: str
) -> None:
    qemu.create(folder / "top.qcow2", SIZE, "disk.qcow2")

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(find(driver, "disk.qcow2"), template)


def test_name_too_long_to_be_restored_is_refused_with_the_remedy(driver: Qcow2Driver, folder: Path) -> None:
    name = "x" * 238
    (folder / "disk.qcow2").rename(folder / name)
    qemu.create(folder / "top.qcow2", SIZE, name)

    with pytest.raises(errors.InvalidReference, match="rename it to at most 237 bytes"):
        driver.managed_name(find(driver, name), "snapshot-1")
