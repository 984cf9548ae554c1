"""The rights of users on folders."""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

# The most symbolic links that Linux follows on the way to a file.
_MOST_LINKS = 40


def keeps_names(folder: os.stat_result, owners: Collection[int], trusts_group: bool = False) -> bool:
    """Return whether only `owners` can rename or remove the files that they have in a folder.

    With `trusts_group`, the folder's group may do so too. A symbolic link is as safe as its owner: its mode has no
    meaning.
    """
    writers = stat.S_IWOTH if trusts_group else stat.S_IWGRP | stat.S_IWOTH
    others_write = folder.st_mode & writers and not folder.st_mode & stat.S_ISVTX
    return folder.st_uid in owners and (stat.S_ISLNK(folder.st_mode) or not others_write)


def way_to(path: Path, link: Callable[[Path], Path | None]) -> Iterator[Path]:
    """Yield each folder and each symbolic link that the system passes on the way to an absolute path.

    `link` returns the target of a symbolic link, and None for another path. The file itself is not yielded. Raise
    `OSError` for too many links.
    """
    here, parts, links = Path("/"), list(path.parts[:0:-1]), 0
    while parts:
        yield here
        entry = here.parent if (part := parts.pop()) == ".." else here / part
        if (target := link(entry)) is None:
            here = entry
            continue
        yield entry
        if (links := links + 1) > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        here = Path("/") if target.is_absolute() else here
        parts += [part for part in reversed(target.parts) if part != "/"]
