"""The names of a file in a directory: add a second name to it, and remove one of two names, but never the last one."""

import errno
import os
from collections.abc import Collection
from contextlib import suppress

from snapmanage import errors
from snapmanage.drivers.qcow2.directory import Directory
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX
from snapmanage.drivers.system import files, permissions, syscalls
from snapmanage.drivers.system.files import translated_errors


def add(directory: Directory, old: str, new: str, identity: str) -> None:
    """Add the name `new` to the file with the name `old` and this identity; never replace another file."""
    with directory.opened(old) as fd, translated_errors(new):
        if fd is None:
            raise errors.BackendPermission(f"snapmanage has no permission to open {old!r}: let its user read the file")
        if syscalls.opened_status(fd).identity != identity:
            raise errors.SourceNotFound(f"{old!r} now belongs to another file: list the snapshots again")
        try:
            # Link the open file, not the name: another file may have the name `old` by now.
            os.link(f"/proc/self/fd/{fd}", new, dst_dir_fd=directory.fd, follow_symlinks=True)
        except PermissionError as failure:
            if failure.errno == errno.EACCES:
                raise permissions.refused_rename(directory.path, old, failure) from failure
            raise errors.BackendPermission(
                f"{old!r} can't get a second name: let snapmanage's user own the file, or read and write it, and use a "
                "file system with hard links"
            ) from failure


def remove(directory: Directory, name: str, other: str, identity: str) -> None:
    """Remove `name` of a file whose other name is `other`; raise `BackendBusy` if another process interferes.

    The file is first moved to a hidden name, so that the check and the removal concern the same file.
    """
    hidden = f"{HIDDEN_PREFIX}{name}"
    if directory.identity(hidden) is not None:
        raise errors.BackendBusy(
            f"the hidden file {hidden!r} is in the way of the rename: find out whose data it has, then move it away"
        )
    with translated_errors(name):
        os.rename(name, hidden, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        if directory.identity(hidden) != identity or directory.identity(other) != identity:
            _restore(directory, hidden)
            raise errors.BackendBusy(f"another process changed {other!r} while {name!r} was renamed to it")
        os.unlink(hidden, dir_fd=directory.fd)


def recover(directory: Directory) -> dict[str, errors.SnapmanageError]:
    """Clean up after crashes in `remove`: remove each hidden name, or restore it if it is the last one.

    Return the failures by the names of the files. A hidden directory that another program has made, for example, must
    not stop the renames of all images.
    """
    names = directory.names()
    failures: dict[str, errors.SnapmanageError] = {}
    for hidden in [name for name in names if name.startswith(HIDDEN_PREFIX)]:
        try:
            _recover(directory, hidden, names)
        except errors.SnapmanageError as failure:
            failures[hidden.removeprefix(HIDDEN_PREFIX)] = failure
    return failures


def _recover(directory: Directory, hidden: str, names: Collection[str]) -> None:
    identity = directory.identity(hidden)
    with translated_errors(hidden):
        if any(directory.identity(name) == identity for name in filter(files.is_valid_name, names)):
            os.unlink(hidden, dir_fd=directory.fd)
        else:
            _restore(directory, hidden)


def _restore(directory: Directory, hidden: str) -> None:
    with suppress(FileExistsError):
        os.link(
            hidden,
            hidden.removeprefix(HIDDEN_PREFIX),
            src_dir_fd=directory.fd,
            dst_dir_fd=directory.fd,
            follow_symlinks=False,
        )
        os.unlink(hidden, dir_fd=directory.fd)
