"""Lists of the volumes of a btrfs: which subvolumes they have."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.btrfs import members
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs, run


def names(driver: BtrfsDriver) -> set[str]:
    return {each.name for each in driver.list_volumes()}


def test_snapshot_is_a_volume_in_the_list_only_while_it_has_snapshots_of_its_own(
    btrfs: Btrfs, driver: BtrfsDriver
) -> None:
    btrfs.add_snapshots("volume-1", "parent", read_only=True)
    btrfs.add_snapshots("volume-1", "writable", read_only=False)
    without = names(driver)
    btrfs.add_snapshots("parent", "child", read_only=True)

    assert names(driver) - without == {"parent"}
    assert "writable" not in names(driver)
    assert driver.find_volume(Reference.named("writable")).name == "writable"


def test_subvolume_elsewhere_is_a_volume_only_if_a_snapshot_in_the_folder_was_made_from_it(btrfs: Btrfs) -> None:
    (btrfs.top / "storage").mkdir()
    for name in ("storage/inside", "outside", "unrelated"):
        btrfs.add_volume(name)
    btrfs.add_snapshots("outside", "storage/of-the-outside")
    btrfs.add_snapshots("unrelated", "elsewhere")

    assert names(BtrfsDriver(str(btrfs.top / "storage"))) == {"inside", "/outside"}


def test_read_only_mount_makes_no_volume_unsafe(btrfs: Btrfs, driver: BtrfsDriver) -> None:
    btrfs.add_snapshots("volume-1", "parent")
    btrfs.add_snapshots("parent", "child")
    run("mount", "-o", "remount,ro", str(btrfs.top))

    assert {each.unsafe for each in driver.list_volumes()} == {None}


def test_subvolumes_of_a_user_who_makes_too_many_are_left_out_of_the_list(
    btrfs: Btrfs, driver: BtrfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    (btrfs.top / "home" / ("d" * 200)).mkdir(parents=True)
    for number in range(50):
        btrfs.add_volume(f"home/{'d' * 200}/{number}")
    monkeypatch.setattr(members, "MOST_LISTED_BYTES", 10_000)

    *others, rest = driver.list_volumes()

    assert "volume-1" in {each.name for each in others}
    with pytest.raises(errors.Unusable, match=r"50 volumes that are not listed.*'home': remove volumes there"):
        refuse_unsafe(rest)
