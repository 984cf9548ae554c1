"""The file driver apart from the common contract: its names, the entries that it ignores, and the locks of QEMU."""

import os
import uuid
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.system import syscalls
from snapmanage.testing.needs import require
from snapmanage.testing.waiting import until
from tests.services.storage.fuse import mounted_by_other_user
from tests.services.storage.leases import leased
from tests.services.storage.qemu import held_open

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


def listed_names(driver: FileDriver) -> set[str]:
    return {snapshot.name for snapshot in driver.list_snapshots()}


def binding_of(driver: FileDriver, name: str = SNAPSHOT) -> Binding:
    found = driver.find_snapshot(Reference.named(name))
    return Binding(found.identity, name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def birth_ns(folder: Path) -> int:
    """Return the birth time of the snapshot's file."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        return syscalls.status(fd, SNAPSHOT).created_ns
    finally:
        os.close(fd)


def test_managed_name_begins_with_the_name_of_the_volume(driver: FileDriver) -> None:
    found = driver.find_snapshot(Reference.named(SNAPSHOT))

    assert driver.managed_name(found, "snapshot-1") == "disk1.img@snapshot-1"


@pytest.mark.parametrize("template", ["a/b", "x" * 250, "a\0b"])
def test_template_that_makes_no_file_name_is_a_configuration_error(driver: FileDriver, template: str) -> None:
    found = driver.find_snapshot(Reference.named(SNAPSHOT))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(found, template)


def test_data_are_the_same_after_managing(driver: FileDriver, folder: Path) -> None:
    binding = binding_of(driver)

    driver.manage_snapshot(binding)

    assert (folder / binding.managed_name).read_bytes() == SNAPSHOT.encode()


@pytest.mark.parametrize("instead", ["nothing", "link", "folder"])
def test_snapshot_without_a_volume_file_is_listed_without_a_parent(
    driver: FileDriver, folder: Path, instead: str
) -> None:
    (folder / "disk1.img").unlink()
    if instead == "link":
        (folder / "disk1.img").symlink_to("/etc/hostname")
    if instead == "folder":
        (folder / "disk1.img").mkdir()

    [snapshot] = driver.list_snapshots()

    assert (snapshot.name, snapshot.parent, snapshot.parent_identity) == (SNAPSHOT, None, None)
    assert driver.find_snapshot(Reference.named(SNAPSHOT)) == snapshot


def test_further_at_signs_belong_to_the_name_of_the_snapshot(driver: FileDriver, folder: Path) -> None:
    (folder / "disk1.img@a@b").touch()

    assert driver.find_snapshot(Reference.named("disk1.img@a@b")).parent == "disk1.img"


def test_listing_omits_entries_that_are_no_images(driver: FileDriver, folder: Path) -> None:
    (folder / "disk1.img@link").symlink_to(folder / SNAPSHOT)
    (folder / "disk1.img@folder").mkdir()
    os.mkfifo(folder / "disk1.img@fifo")
    for name in (b".hidden@x", b"@nameless", b"disk1.img@", b"disk1.img@\xff"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).touch()

    assert listed_names(driver) == {SNAPSHOT}


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo"])
def test_entry_that_is_not_a_regular_file_is_refused_and_not_followed(
    driver: FileDriver, folder: Path, kind: str
) -> None:
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


def test_symbolic_link_in_place_of_the_snapshot_stays_unchanged(driver: FileDriver, folder: Path) -> None:
    binding = binding_of(driver)
    (folder / SNAPSHOT).rename(folder.parent / "elsewhere")
    (folder / SNAPSHOT).symlink_to(folder.parent / "elsewhere")

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)

    assert (folder / SNAPSHOT).is_symlink()


def test_identity_survives_writes_renames_and_older_timestamps(driver: FileDriver, folder: Path) -> None:
    before = binding_of(driver).identity

    (folder / SNAPSHOT).write_bytes(b"more")
    os.utime(folder / SNAPSHOT, (0, 0))
    (folder / SNAPSHOT).rename(folder / "disk1.img@weekly")

    assert binding_of(driver, "disk1.img@weekly").identity == before


def test_new_file_with_a_reused_inode_number_has_another_identity(driver: FileDriver, folder: Path) -> None:
    before = binding_of(driver).identity
    first_birth_ns = birth_ns(folder)

    def has_another_birth_time() -> bool:
        (folder / SNAPSHOT).unlink()
        (folder / SNAPSHOT).touch()
        return birth_ns(folder) != first_birth_ns

    until(has_another_birth_time, "the file system's clock to advance")
    assert binding_of(driver).identity != before


def test_image_opened_by_qemu_is_in_use(driver: FileDriver, folder: Path) -> None:
    require("qemu-io")
    binding = binding_of(driver)

    with held_open(folder / SNAPSHOT, "raw"):
        assert driver.list_snapshots()[0].unsafe is Unsafe.IN_USE
        with pytest.raises(errors.InUse):
            driver.manage_snapshot(binding)

    assert driver.manage_snapshot(binding).name == binding.managed_name


def test_missing_directory_option_is_an_error_with_the_remedy() -> None:
    with pytest.raises(errors.ConfigurationError, match="directory"):
        FileDriver().check()


@pytest.mark.parametrize("name", ["users", "disk2.img", "disk1.img@theirs"])
def test_mount_of_another_user_hides_only_its_own_entry(folder: Path, driver: FileDriver, name: str) -> None:
    binding = binding_of(driver)
    point = folder / name
    point.mkdir() if name == "users" else point.write_bytes(b"")

    with mounted_by_other_user(point):
        assert listed_names(driver) == {SNAPSHOT}
        found = driver.locate({binding.identity}, {name, "disk3.img"})
        driver.manage_snapshot(binding)

    assert {(each.name, each.identity) for each in found} == {(SNAPSHOT, binding.identity), (name, "")}


def test_snapshot_with_a_lease_is_in_use(driver: FileDriver, folder: Path) -> None:
    binding = binding_of(driver)

    with leased(folder / SNAPSHOT), pytest.raises(errors.InUse, match="a process holds a lease on the file"):
        driver.manage_snapshot(binding)

    driver.manage_snapshot(binding)
