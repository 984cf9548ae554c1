"""A missing permission is reported with the user, the right, the path and the error of the system."""

import os
from collections.abc import Callable

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.system import permissions
from tests.unit.other_users import NOBODY, as_nobody, folder_of_nobody

USER = f"user nobody (uid {NOBODY})"


@pytest.mark.parametrize(
    ("rights", "missing"),
    [(0o500, "write"), (0o300, "read"), (0o400, "write and enter"), (0o000, "read, write and enter")],
)
def test_missing_rights_on_a_directory_are_named(rights: int, missing: str) -> None:
    with folder_of_nobody(rights) as folder, as_nobody():
        with pytest.raises(errors.BackendPermission) as caught:
            permissions.require_use(str(folder))

        assert str(caught.value).startswith(f"{USER} can't {missing} the directory '{folder}', whose mode is d")


def test_directory_with_all_rights_is_accepted() -> None:
    with folder_of_nobody(0o700) as folder, as_nobody():
        permissions.require_use(str(folder))


def test_directory_on_a_read_only_file_system_has_its_own_remedy() -> None:
    with folder_of_nobody(0o755), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda path, right, **_: right != os.W_OK)
        patch.setattr(os, "statvfs", lambda _: os.statvfs_result((0,) * 8 + (os.ST_RDONLY, 0)))
        with pytest.raises(errors.BackendPermission, match=r"read-only file system \(EROFS\): mount it writable"):
            permissions.require_use("/srv/images")


def managing(driver: FileDriver) -> None:
    found = driver.find_snapshot(Reference.named("disk@daily"))
    driver.manage_snapshot(Binding(found.identity, found.name, "disk@snapshot-1"))


def listing(driver: FileDriver) -> None:
    driver.list_snapshots()


@pytest.mark.parametrize(
    ("rights", "act", "text"),
    [
        (
            0o555,
            managing,
            "can't change the name 'disk@daily' in the directory '{}': give it the rights to write and enter the "
            "directory (EACCES: Permission denied)",
        ),
        (
            0o300,
            listing,
            "can't open the directory '{}': give it the right to read that one, and the right to enter the directories "
            "above it (EACCES: Permission denied)",
        ),
    ],
    ids=["rename", "list"],
)
def test_refused_call_names_user_right_path_and_error(
    rights: int, act: Callable[[FileDriver], None], text: str
) -> None:
    with folder_of_nobody(rights) as folder:
        for name in ("disk", "disk@daily"):
            (folder / name).write_bytes(b"data")
        with as_nobody(), pytest.raises(errors.BackendPermission) as caught:
            act(FileDriver(str(folder)))

        assert str(caught.value) == f"{USER} {text.format(folder)}"


def test_user_without_a_name_is_reported_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)

    assert permissions.user() == "the user with uid 4000000"


def test_error_without_a_known_number_is_reported_by_its_text() -> None:
    assert permissions.system_error(OSError(99999, "odd")) == "odd"
    assert permissions.system_error(OSError("odd")) == "odd"
