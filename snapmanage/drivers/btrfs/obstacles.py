"""Obstacles to renaming a subvolume of a btrfs: its folder, and mounts. `members` calls this module as root."""

import errno
import os

from snapmanage.drivers.system import mounts, syscalls


def of_folder(fd: int, place: str) -> str:
    """Return why no object can be renamed in a folder beneath an open one; empty where there is no obstacle.

    It is also empty where the folder was removed.
    """
    try:
        inner = syscalls.open_directory_beneath(fd, place) if place else os.dup(fd)
    except FileNotFoundError:
        return ""
    except OSError as failure:
        if failure.errno == errno.EXDEV:
            return f"another file system is mounted on its folder {place!r}, or above that; unmount it"
        return f"its folder {place!r} can't be opened ({failure.strerror}); make root the owner of the folder"
    try:
        if os.access(".", os.W_OK | os.X_OK, dir_fd=inner, effective_ids=True):
            return ""
    finally:
        os.close(inner)
    return (
        f"snapmanage's helper, root with CAP_SYS_ADMIN alone, can't rename in its folder {place!r}; "
        "make root the owner of the folder"
    )


def paths_in_use(fd: int) -> dict[bytes, str]:
    """Return the reason why each path is in use: the path itself or a part of it is mounted, or has a mount on it.

    Paths begin at the top of the file system of `fd`.
    """
    known = {mount.number: mount for mount in mounts.mounts()}
    device = known[mounts.mount_of(fd)].device
    found: dict[bytes, str] = {}
    for mount in known.values():
        point = mount.point.decode(errors="replace")
        if mount.device == device:
            parts = mount.root.strip(b"/").split(b"/")
            for length in range(1, len(parts) + 1):
                found[b"/".join(parts[:length])] = f"it is mounted at {point!r}, by itself or in part"
        above = known.get(mount.parent)
        if above and above.device == device:
            found.setdefault(_covered(mount, above), f"a file system is mounted on it, at {point!r}")
    return found


def _covered(mount: mounts.Mount, above: mounts.Mount) -> bytes:
    """Return the path, from the top of its file system, that a mount hides."""
    inside = mount.point[len(above.point.rstrip(b"/")) :]
    return (above.root.rstrip(b"/") + b"/" + inside.strip(b"/")).strip(b"/")
