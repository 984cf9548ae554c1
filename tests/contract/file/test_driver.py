"""What is the file driver's own: how it reads a directory, what it refuses to touch, and qemu's locks."""

import os
import uuid
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.system import syscalls
from tests.needs import require
from tests.services.qemu import held_open
from tests.waiting import until

SNAPSHOT = "disk1.img@daily"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("disk1.img", SNAPSHOT):
        (images / name).write_bytes(name.encode())
    return images


@pytest.fixture
def driver(folder: Path) -> FileDriver:
    return FileDriver(str(folder))


def listed(driver: FileDriver) -> set[str]:
    return {snapshot.name for snapshot in driver.list_snapshots()}


def find(driver: FileDriver, name: str = SNAPSHOT) -> Binding:
    found = driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def birth(folder: Path) -> int | None:
    """When the snapshot's file was made, as the file system keeps it."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        return syscalls.status(fd, SNAPSHOT).born_ns
    finally:
        os.close(fd)


def test_managed_name_keeps_the_volumes_name_in_front(driver: FileDriver) -> None:
    found = driver.find_snapshot(Reference.named(SNAPSHOT))

    assert driver.managed_name(found, "snapshot-1") == "disk1.img@snapshot-1"


@pytest.mark.parametrize("template", ["a/b", "x" * 250, "a\0b"])
def test_template_that_makes_no_file_name_is_the_operators_to_mend(driver: FileDriver, template: str) -> None:
    found = driver.find_snapshot(Reference.named(SNAPSHOT))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(found, template)


def test_bytes_are_the_same_through_managing(driver: FileDriver, folder: Path) -> None:
    binding = find(driver)

    driver.manage_snapshot(binding)

    assert (folder / binding.managed_name).read_bytes() == SNAPSHOT.encode()


@pytest.mark.parametrize("instead", ["nothing", "link", "folder"])
def test_snapshot_whose_volume_is_no_file_is_listed_without_one(driver: FileDriver, folder: Path, instead: str) -> None:
    (folder / "disk1.img").unlink()
    if instead == "link":
        (folder / "disk1.img").symlink_to("/etc/hostname")
    if instead == "folder":
        (folder / "disk1.img").mkdir()

    [snapshot] = driver.list_snapshots()

    assert (snapshot.name, snapshot.parent, snapshot.parent_identity) == (SNAPSHOT, None, None)
    assert driver.find_snapshot(Reference.named(SNAPSHOT)) == snapshot


def test_further_at_signs_belong_to_the_snapshots_name(driver: FileDriver, folder: Path) -> None:
    (folder / "disk1.img@a@b").touch()

    assert driver.find_snapshot(Reference.named("disk1.img@a@b")).parent == "disk1.img"


def test_what_is_no_image_is_left_out_of_the_listing(driver: FileDriver, folder: Path) -> None:
    (folder / "disk1.img@link").symlink_to(folder / SNAPSHOT)
    (folder / "disk1.img@folder").mkdir()
    os.mkfifo(folder / "disk1.img@fifo")
    for name in (b".hidden@x", b"@nameless", b"disk1.img@", b"disk1.img@\xff"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).touch()

    assert listed(driver) == {SNAPSHOT}


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo"])
def test_what_is_no_regular_file_is_no_snapshot_and_never_followed(driver: FileDriver, folder: Path, kind: str) -> None:
    name = f"disk1.img@{kind}"
    match kind:
        case "link":
            (folder / name).symlink_to("/etc/hostname")
        case "dangling":
            (folder / name).symlink_to("/nowhere")
        case "folder":
            (folder / name).mkdir()
        case "fifo":
            os.mkfifo(folder / name)

    with pytest.raises(errors.NotASnapshot, match="never followed"):
        driver.find_snapshot(Reference.named(name))


def test_link_that_replaced_the_snapshot_is_left_alone(driver: FileDriver, folder: Path) -> None:
    binding = find(driver)
    (folder / SNAPSHOT).rename(folder.parent / "elsewhere")
    (folder / SNAPSHOT).symlink_to(folder.parent / "elsewhere")

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)

    assert (folder / SNAPSHOT).is_symlink()


def test_identity_stays_through_writing_renaming_and_older_dates(driver: FileDriver, folder: Path) -> None:
    before = find(driver).identity

    (folder / SNAPSHOT).write_bytes(b"more")
    os.utime(folder / SNAPSHOT, (0, 0))
    (folder / SNAPSHOT).rename(folder / "disk1.img@weekly")

    assert find(driver, "disk1.img@weekly").identity == before


def test_file_that_may_have_got_a_freed_number_is_another_object(driver: FileDriver, folder: Path) -> None:
    before = find(driver).identity
    born = birth(folder)

    def made_again_later() -> bool:
        (folder / SNAPSHOT).unlink()
        (folder / SNAPSHOT).touch()
        return birth(folder) != born

    until(made_again_later, "the file system's clock to go on")
    assert find(driver).identity != before


def test_image_that_a_qemu_has_open_is_in_use(driver: FileDriver, folder: Path) -> None:
    require("qemu-io")
    binding = find(driver)

    with held_open(folder / SNAPSHOT, "raw"):
        assert driver.list_snapshots()[0].unsafe is Unsafe.IN_USE
        with pytest.raises(errors.InUse):
            driver.manage_snapshot(binding)

    assert driver.manage_snapshot(binding).name == binding.managed_name


def test_directory_that_is_not_configured_is_told_with_the_remedy() -> None:
    with pytest.raises(errors.ConfigurationError, match="directory"):
        FileDriver().check()
