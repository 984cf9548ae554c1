"""Mounts are read from the kernel's list."""

import os
from pathlib import Path

from snapmanage.drivers.system import mounts
from snapmanage.drivers.system.mounts import Mount

MOUNTINFO = rb"""
36 35 0:42 /@data /srv/a\040b rw,noatime shared:1 - btrfs /dev/loop0 rw,subvolid=256,subvol=/@data
37 36 0:42 /.snapshots/new\012line /mnt rw - btrfs /dev/loop0 rw
38 35 0:51 / /tank rw,relatime shared:2 master:3 - zfs tank/volumes rw
""".strip()


def test_mounts_are_read_with_their_roots_and_odd_characters() -> None:
    assert mounts.read(MOUNTINFO) == [
        Mount(36, "0:42", b"/@data", b"/srv/a b", "btrfs", b"/dev/loop0", 35),
        Mount(37, "0:42", b"/.snapshots/new\nline", b"/mnt", "btrfs", b"/dev/loop0", 36),
        Mount(38, "0:51", b"/", b"/tank", "zfs", b"tank/volumes", 35),
    ]


def test_mount_of_a_local_user_with_odd_names_hides_no_other_mount() -> None:
    hostile = b"39 35 0:60 / /home/u/a\rb rw - fuse.\xff user\r/\xff rw,user_id=1000\n"

    found = mounts.read(hostile + MOUNTINFO)

    assert found[0] == Mount(39, "0:60", b"/", b"/home/u/a\rb", "fuse.\ufffd", b"user\r/\xff", 35)
    assert found[1:] == mounts.read(MOUNTINFO)


def test_mount_of_an_open_file_is_one_of_the_mounts(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        number = mounts.mount_of(fd)
    finally:
        os.close(fd)

    [found] = [mount for mount in mounts.mounts() if mount.number == number]
    assert os.fsencode(tmp_path).startswith(found.point)
