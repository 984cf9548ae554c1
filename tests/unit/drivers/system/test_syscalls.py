"""The system calls behave as their manual pages describe."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers.system import syscalls


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_text("a")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_status_agrees_with_stat(directory: int, tmp_path: Path) -> None:
    expected = (tmp_path / "a").lstat()

    found = syscalls.status(directory, "a")

    assert (found.inode, found.size_bytes, found.mode) == (expected.st_ino, 1, expected.st_mode)
    assert found.modified_ns == expected.st_mtime_ns


def test_birth_time_does_not_change_with_the_other_times(directory: int, tmp_path: Path) -> None:
    before = syscalls.status(directory, "a")

    os.utime(tmp_path / "a", (0, 0))

    after = syscalls.status(directory, "a")
    assert (after.identity, after.created_ns) == (before.identity, before.created_ns)
    assert before.created_ns / syscalls.NANOSECONDS_PER_SECOND == pytest.approx(
        (tmp_path / "a").lstat().st_ctime, abs=60
    )


def test_status_of_an_open_file_does_not_depend_on_its_name(directory: int, tmp_path: Path) -> None:
    before = syscalls.status(directory, "a")

    with (tmp_path / "a").open() as opened:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").write_text("another")

        assert syscalls.opened_status(opened.fileno()) == before


def test_lock_of_one_opening_is_seen_and_respected_by_another_until_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("r+b") as second:
        with (tmp_path / "lock").open("r+b") as first:
            assert not syscalls.locked(second.fileno())
            assert syscalls.try_lock(first.fileno())
            assert syscalls.locked(second.fileno())
            assert not syscalls.try_lock(second.fileno())

        assert syscalls.try_lock(second.fileno())


def test_last_change_replaces_a_missing_birth_time() -> None:
    fd = os.open("/proc", os.O_RDONLY)  # a file system without birth times
    try:
        found = syscalls.status(fd, "version")
    finally:
        os.close(fd)

    assert (found.identity, found.created_ns) == (f"{found.inode}-0", found.modified_ns)


def test_rename_moves_the_name(directory: int, tmp_path: Path) -> None:
    syscalls.rename_noreplace(directory, "a", "b")

    assert os.listdir(tmp_path) == ["b"]


def test_rename_never_replaces(directory: int, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("b")

    with pytest.raises(FileExistsError, match="b"):
        syscalls.rename_noreplace(directory, "a", "b")

    assert (tmp_path / "b").read_text() == "b"


def test_missing_file_raises_file_not_found(directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        syscalls.status(directory, "absent")
    with pytest.raises(FileNotFoundError):
        syscalls.rename_noreplace(directory, "absent", "b")
