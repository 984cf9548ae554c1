"""Times outside of the calendar, which any user can give a file on a file system without birth times."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from snapmanage.drivers.file import FileDriver
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.syscalls import NANOSECONDS_PER_SECOND, FileStatus
from snapmanage.drivers.system.times import creation_time

BEYOND_THE_CALENDAR = 99_999_999_999_999


@pytest.fixture
def odd_file(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let every file whose content is 13 bytes long have a time that is no date; return that length."""
    real = syscalls.status

    def status(*arguments: int | str) -> FileStatus:
        found = real(*arguments)  # type: ignore[arg-type]
        odd = replace(found, created_ns=BEYOND_THE_CALENDAR * NANOSECONDS_PER_SECOND)
        return odd if found.size_bytes == 13 else found

    monkeypatch.setattr(syscalls, "status", status)
    return 13


@pytest.mark.parametrize("seconds", [2.0**63, -(2.0**63), 0.0, BEYOND_THE_CALENDAR])
def test_time_outside_of_the_calendar_is_unknown(seconds: float) -> None:
    assert creation_time(seconds) is None


def test_time_is_in_utc() -> None:
    assert creation_time(1.5) == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)


def test_file_with_a_time_outside_of_the_calendar_hides_no_other_file(tmp_path: Path, odd_file: int) -> None:
    for name, length in (("disk.img", 5), ("disk.img@daily", 5), ("disk.img@odd", odd_file)):
        (tmp_path / name).write_bytes(bytes(length))

    found = {each.name: each.created_at for each in FileDriver(str(tmp_path)).list_snapshots()}

    assert found.keys() == {"disk.img@daily", "disk.img@odd"}
    assert found["disk.img@odd"] is None
    assert found["disk.img@daily"] is not None


def test_image_with_a_time_outside_of_the_calendar_stops_no_scan(tmp_path: Path, odd_file: int) -> None:
    (tmp_path / "odd.qcow2").write_bytes(bytes(odd_file))

    assert Qcow2Driver(str(tmp_path)).list_snapshots() == []
