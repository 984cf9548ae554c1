"""System calls of Linux that Python lacks: renames that never replace, birth times, opening beneath, locks.

This module has no rules about snapshots. Errors are plain `OSError`s, as if `os` had raised them.
"""

import ctypes
import errno
import fcntl
import os
import struct
from dataclasses import dataclass

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_FLOCK = struct.Struct("hhqqi0q")
_PR_SET_NO_NEW_PRIVS = 38
_RENAME_NOREPLACE = 1
_STATX_BASIC_STATS = 0x7FF
_STATX_BTIME = 0x800
# Attributes of statx: immutable, append-only, the root of a mount.
_IMMOVABLE = 0x10 | 0x20 | 0x2000
_OPENAT2 = 437  # the same on every architecture, and libc has no function for it
_RESOLVE_NO_XDEV, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 1, 4, 8

NANOSECONDS_PER_SECOND = 10**9
# Errors of a path that leads to no file.
LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

_libc = ctypes.CDLL(None, use_errno=True)


class _Timestamp(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("reserved", ctypes.c_int32))


class _Statx(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("padding", ctypes.c_uint16),
        ("ino", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("blocks", ctypes.c_uint64),
        ("attributes_mask", ctypes.c_uint64),
        ("atime", _Timestamp),
        ("btime", _Timestamp),
        ("ctime", _Timestamp),
        ("mtime", _Timestamp),
        ("rdev_major", ctypes.c_uint32),
        ("rdev_minor", ctypes.c_uint32),
        ("dev_major", ctypes.c_uint32),
        ("dev_minor", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64 * 16),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@dataclass(frozen=True)
class FileStatus:
    """The result of `statx`.

    `identity` is the inode number with the birth time, which is 0 where the file system has no birth times; then
    `created_ns` is the time of the last change. `immovable` means that the system refuses to rename the file: it is
    immutable, append-only, or a mount point.
    """

    mode: int
    inode: int
    size_bytes: int
    identity: str
    created_ns: int
    modified_ns: int
    device: tuple[int, int] = (0, 0)
    immovable: bool = False


def status(directory_fd: int, name: str, flags: int = _AT_SYMLINK_NOFOLLOW) -> FileStatus:
    """Return the status of the entry `name` of an open directory, without following a symbolic link.

    Other `flags` of `statx` choose another file.
    """
    found = _Statx()
    mask = _STATX_BASIC_STATS | _STATX_BTIME
    _check(_libc.statx(directory_fd, os.fsencode(name), flags, mask, ctypes.byref(found)), name)
    born_ns = found.btime.seconds * NANOSECONDS_PER_SECOND + found.btime.nanoseconds if found.mask & _STATX_BTIME else 0
    modified_ns = found.mtime.seconds * NANOSECONDS_PER_SECOND + found.mtime.nanoseconds
    return FileStatus(
        mode=found.mode,
        inode=found.ino,
        size_bytes=found.size,
        identity=f"{found.ino}-{born_ns}",
        created_ns=born_ns or modified_ns,
        modified_ns=modified_ns,
        device=(found.dev_major, found.dev_minor),
        immovable=bool(found.attributes & _IMMOVABLE),
    )


def target_status(directory_fd: int, path: str) -> FileStatus:
    """Return the status of the file at a path from an open directory, following all symbolic links; `OSError`."""
    return status(directory_fd, path, flags=0)


def opened_status(fd: int) -> FileStatus:
    """Return the status of an open file; `OSError`."""
    return status(fd, "", _AT_EMPTY_PATH)


def rename_noreplace(directory_fd: int, old: str, new: str) -> None:
    """Rename within an open directory; raise `FileExistsError` if `new` exists."""
    outcome = _libc.renameat2(directory_fd, os.fsencode(old), directory_fd, os.fsencode(new), _RENAME_NOREPLACE)
    _check(outcome, new)


def open_directory_beneath(directory_fd: int, path: str) -> int:
    """Open a directory beneath an open one, on the same mount and without following symbolic links."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return _openat2(directory_fd, path, flags, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_XDEV)


def is_mount_point(directory_fd: int, name: str) -> bool:
    """Return whether something is mounted on the entry `name` of an open directory; the mount is not entered."""
    try:
        os.close(_openat2(directory_fd, name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, _RESOLVE_NO_XDEV))
    except OSError as failure:
        return failure.errno == errno.EXDEV
    return False


def locked(fd: int) -> bool:
    """Return whether any process holds a lock on the file, even a shared one on some bytes.

    The file isn't locked by this call. A running qemu holds such locks on an image and on every backing file of it.
    """
    request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, request))
    return bool(kind != fcntl.F_UNLCK)


def try_lock(fd: int) -> bool:
    """Lock the whole file exclusively for this opening; return False where another lock exists.

    The lock belongs to the opening: it ends when the last copy of `fd` is closed, in any process.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except BlockingIOError:
        return False
    return True


def keep_capabilities_of_children() -> None:
    """Let this process and its children never gain capabilities, not even by starting a program as root.

    Without it, the kernel gives every capability to a program that a process of root starts.
    """
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _openat2(directory_fd: int, path: str, flags: int, resolve: int) -> int:
    how = _OpenHow(flags, 0, resolve)
    name = ctypes.c_char_p(os.fsencode(path))
    opened = int(_libc.syscall(_OPENAT2, directory_fd, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))))
    if opened < 0:
        _check(opened, path)
    return opened


def _check(outcome: int, name: str) -> None:
    if outcome != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
