"""Files and folders that only root can change: code, lists and settings that root obeys must be such files."""

import os
import stat
from pathlib import Path

from snapmanage.core.values.rights import keeps_names, way_to

__all__ = ["is_root_only", "is_root_only_behind_links", "open_folder"]

_ROOT = {0}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_root_only(path: Path) -> bool:
    """Return whether the path is absolute, has no symbolic link, and only root can change the file or any folder above.

    In a folder with the sticky bit, such as /tmp, other users can't rename a file of root. They can add files, so such
    a folder is accepted above the path only.
    """
    try:
        is_direct = path.is_absolute() and path.resolve() == path
        return is_direct and _is_closed(path.stat()) and all(keeps_names(each.stat(), _ROOT) for each in path.parents)
    except OSError:
        return False


def is_root_only_behind_links(path: Path) -> bool:
    """Like `is_root_only`, but the way to the path may have symbolic links that only root can change."""
    try:
        way = way_to(path, _link)
        return path.is_absolute() and _is_closed(path.stat()) and all(keeps_names(each.lstat(), _ROOT) for each in way)
    except OSError:
        return False


def open_folder(path: str) -> int:
    """Open a folder, following no symbolic link; raise `PermissionError` if others than root can change one above it.

    The folder itself may belong to anyone. Raise `OSError`.
    """
    fd = os.open("/", _FOLDER)
    for name in Path(path).parts[1:]:
        above = fd
        try:
            if not keeps_names(os.fstat(above), _ROOT):
                raise PermissionError(f"others than root can change a folder above {path!r}")
            fd = os.open(name, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    return fd


def _is_closed(found: os.stat_result) -> bool:
    return found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _link(path: Path) -> Path | None:
    return path.readlink() if path.is_symlink() else None
