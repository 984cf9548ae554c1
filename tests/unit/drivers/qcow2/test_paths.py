"""Targets of paths: a mount on the way may hang, and one file may be seen through two mounts."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage.drivers.qcow2.paths import CachedResolver, PathResolver, Target, same_file
from snapmanage.drivers.system import syscalls
from snapmanage.drivers.system.syscalls import FileStatus

DISK, NETWORK = (8, 1), (0, 52)
FILE = FileStatus(0o100644, 12, 4096, "12-5", 5, 7, DISK)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (FILE, True),
        (replace(FILE, size_bytes=8192, modified_ns=8), True),
        (replace(FILE, inode=13), False),
        (replace(FILE, device=(8, 2)), False),
        (replace(FILE, device=NETWORK, identity="12-0", created_ns=7), True),
        (replace(FILE, device=NETWORK, size_bytes=8192), False),
        (replace(FILE, device=NETWORK, modified_ns=8), False),
    ],
)
def test_file_is_recognized_by_device_and_inode_also_through_a_network_file_system(
    other: FileStatus, same: bool
) -> None:
    assert same_file(FILE, other) is same
    assert same_file(other, FILE) is same


def test_path_without_a_target_is_resolved_to_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        found = {path: PathResolver().resolve(fd, path) for path in ("file", "gone", "file/x", "loop", "x" * 300)}
    finally:
        os.close(fd)

    assert found["file"].file
    assert found["file"].file.inode == (tmp_path / "file").stat().st_ino
    assert {found[path] for path in ("gone", "file/x", "loop", "x" * 300)} == {Target()}


def test_hanging_mount_delays_one_lookup_only(monkeypatch: pytest.MonkeyPatch) -> None:
    released, followed = threading.Event(), []

    def hang(_: int, path: str) -> FileStatus:
        followed.append(path)
        released.wait()
        return FILE

    monkeypatch.setattr(syscalls, "target_status", hang)
    paths = CachedResolver(0, PathResolver(timeout_seconds=0.05))

    found = [paths.resolve(path) for path in ("/mnt/a", "/mnt/b", "/mnt/a")]
    released.set()

    assert found == [Target(resolved=False)] * 3
    assert followed == ["/mnt/a"]
