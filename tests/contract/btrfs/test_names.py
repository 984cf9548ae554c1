"""Names of btrfs snapshots: paths from the folder, including odd and long paths."""

import os

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.btrfs import members
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs, run
from tests.contract.btrfs.helpers import bind, parents_by_name


def test_name_with_a_line_break_is_not_read_as_two_names(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    name = "daily\nID 999 gen 9 top level 5 path weekly"
    btrfs.add_snapshots("volume-1", name)

    assert list(parents_by_name(driver)) == [name]


def test_name_that_is_not_utf_8_is_listed_escaped_as_unusable_and_can_be_a_volume(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    nameless = os.fsdecode(b"\xff")
    btrfs.add_snapshots("volume-1", nameless, "\\xff")
    btrfs.add_snapshots(nameless, "of-the-nameless")

    assert parents_by_name(driver) == {"./\\xff": "volume-1", "\\xff": "volume-1", "of-the-nameless": "./\\xff"}
    found = driver.find_snapshot(Reference.named("./\\xff"))
    with pytest.raises(errors.Unusable, match="isn't UTF-8; rename it"):
        refuse_unsafe(found)
    assert driver.find_volume(Reference.named("./\\xff")).identity == found.identity


def test_snapshot_with_a_path_that_is_too_long_for_the_kernel_counts_as_outside(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_deep_snapshots("volume-1", ".", (12, 18))

    [shallow] = driver.list_snapshots()

    driver.manage_snapshot(bind(driver, shallow.name))
    with pytest.raises(errors.SourceNotFound):
        driver.find_snapshot(Reference.named(f"{'d' * 250}/" * 18 + "deep"))


def test_snapshot_in_too_many_folders_counts_as_outside(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_deep_snapshots("volume-1", ".", (256, 257), name="d")

    [shallow] = driver.list_snapshots()

    assert shallow.name == "d/" * 256 + "deep"


def test_thousand_nested_subvolumes_do_not_break_the_listing(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_nested_volumes(1100)
    btrfs.add_snapshots("volume-1", "daily")

    assert list(parents_by_name(driver)) == ["daily"]


def test_snapshots_of_a_user_who_makes_too_many_are_left_out_of_the_listing(
    btrfs: Btrfs, driver: BtrfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    btrfs.add_volume("home")
    (btrfs.top / "home" / ("d" * 200)).mkdir()
    btrfs.add_snapshots("home", *(f"home/{'d' * 200}/{number}" for number in range(50)))
    btrfs.add_snapshots("volume-1", "daily")
    managed = bind(driver, f"home/{'d' * 200}/7")
    driver.manage_snapshot(managed)
    monkeypatch.setattr(members, "MOST_LISTED_BYTES", 10_000)

    daily, rest = driver.list_snapshots()

    assert daily.name == "daily"
    with pytest.raises(errors.Unusable, match=r"50 snapshots that are not listed.*'home': remove"):
        refuse_unsafe(rest)
    assert [each.name for each in driver.locate({managed.identity}, ())] == [managed.managed_name]
    driver.unmanage_snapshot(managed)
    with pytest.raises(errors.InvalidReference):
        driver.find_snapshot(Reference.named(rest.name))


@pytest.mark.parametrize("template", ["a/b", "x" * 256, "a\0b", "..", ""])
def test_error_for_an_illegal_name_names_the_template(driver: BtrfsDriver, binding: Binding, template: str) -> None:
    found = driver.find_snapshot(Reference.named(binding.original_name))

    with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
        driver.managed_name(found, template)


def test_rename_out_of_the_folder_is_refused(driver: BtrfsDriver, binding: Binding) -> None:
    with pytest.raises(errors.InvalidReference, match="stays in its folder"):
        driver.renamer().rename("snapshots/daily", "daily")

    assert binding.managed_name.startswith("snapshots/snapshot-")


def test_symbolic_link_on_the_way_is_not_followed(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    (btrfs.top / "link").symlink_to("snapshots")

    with pytest.raises(errors.InvalidReference, match="symbolic link"):
        driver.renamer().rename("link/daily", "link/other")


def test_mount_on_the_way_is_not_crossed(btrfs: Btrfs, driver: BtrfsDriver, binding: Binding) -> None:
    (btrfs.top / "bound").mkdir()
    run("mount", "--bind", str(btrfs.top / "snapshots"), str(btrfs.top / "bound"))
    try:
        with pytest.raises(errors.InvalidReference, match="another mount"):
            driver.renamer().rename("bound/daily", "bound/other")
    finally:
        run("umount", str(btrfs.top / "bound"))
