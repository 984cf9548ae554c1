"""The configured folder of a btrfs and its file system."""

import uuid

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.drivers.btrfs import privileged
from snapmanage.drivers.btrfs.driver import BtrfsDriver
from snapmanage.testing.services.storage.btrfs import Btrfs, run


def test_folder_on_another_file_system_than_the_configured_one_is_unavailable(btrfs: Btrfs) -> None:
    own = run("findmnt", "--noheadings", "--output", "UUID", str(btrfs.top)).strip()

    BtrfsDriver(str(btrfs.top), own.upper()).check()
    with pytest.raises(errors.BackendUnavailable, match=own):
        BtrfsDriver(str(btrfs.top), str(uuid.uuid4())).list_snapshots()


def test_folder_that_is_not_on_a_btrfs_is_unavailable(btrfs: Btrfs) -> None:
    with pytest.raises(errors.BackendUnavailable, match="mounted"):
        BtrfsDriver("/proc/self").list_snapshots()


@pytest.mark.parametrize("folder", [None, "", "relative/folder"])
def test_error_for_a_folder_that_is_not_configured_names_the_option(folder: str | None) -> None:
    with pytest.raises(errors.ConfigurationError, match="btrfs_folder"):
        BtrfsDriver(folder).check()


def test_error_for_an_invalid_uuid_names_the_option(btrfs: Btrfs) -> None:
    with pytest.raises(errors.ConfigurationError, match="btrfs_uuid"):
        BtrfsDriver(str(btrfs.top), "mine").check()


def test_arguments_are_checked_on_the_privileged_side(btrfs: Btrfs, binding: Binding) -> None:
    top = str(btrfs.top)
    for old, new in (("../a", "../b"), ("/a", "/b"), ("a\0", "b"), ("snapshots/daily", "snapshots/.."), ("", "b")):
        with pytest.raises(errors.InvalidReference):
            privileged.rename_subvolume(top, "", old, new)
    with pytest.raises(errors.InvalidReference):
        privileged.sync_names(top, "", "../a")
    with pytest.raises(errors.ConfigurationError):
        privileged.look_up("relative", "", [])
