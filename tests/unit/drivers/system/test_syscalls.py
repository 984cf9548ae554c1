"""The system calls behave as the manual pages say."""

import os
from collections.abc import Iterator
from dataclasses import replace
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


def test_birth_is_not_moved_by_changing_the_dates(directory: int, tmp_path: Path) -> None:
    before = syscalls.status(directory, "a")

    os.utime(tmp_path / "a", (0, 0))

    assert syscalls.status(directory, "a").born_ns == before.born_ns
    assert syscalls.birth_time(before) == pytest.approx((tmp_path / "a").lstat().st_ctime, abs=60)


def test_what_is_open_is_described_whatever_its_name_leads_to_by_now(directory: int, tmp_path: Path) -> None:
    before = syscalls.status(directory, "a")

    with (tmp_path / "a").open() as opened:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").write_text("another")

        assert syscalls.opened_status(opened.fileno()) == before


def test_lock_of_one_opening_is_seen_by_and_closed_to_another_until_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("r+b") as second:
        with (tmp_path / "lock").open("r+b") as first:
            assert not syscalls.locked(second.fileno())
            assert syscalls.try_lock(first.fileno())
            assert syscalls.locked(second.fileno())
            assert not syscalls.try_lock(second.fileno())

        assert syscalls.try_lock(second.fileno())


def test_last_change_stands_in_where_no_birth_is_kept(directory: int) -> None:
    found = replace(syscalls.status(directory, "a"), born_ns=None, modified_ns=1_500_000_000)

    assert syscalls.birth_time(found) == 1.5


def test_rename_moves_the_name(directory: int, tmp_path: Path) -> None:
    syscalls.rename_noreplace(directory, "a", "b")

    assert os.listdir(tmp_path) == ["b"]


def test_rename_never_replaces(directory: int, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("b")

    with pytest.raises(FileExistsError, match="b"):
        syscalls.rename_noreplace(directory, "a", "b")

    assert (tmp_path / "b").read_text() == "b"


def test_what_is_not_there_is_an_error_of_the_usual_kind(directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        syscalls.status(directory, "absent")
    with pytest.raises(FileNotFoundError):
        syscalls.rename_noreplace(directory, "absent", "b")
