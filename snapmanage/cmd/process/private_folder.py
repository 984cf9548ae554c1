"""A folder that only this process's user can read and change, and the files in it.

Other users must be able neither to read the records and the log, nor to put a symbolic link in the place of a file, so
that this process would overwrite its target.
"""

import fcntl
import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from snapmanage import errors
from snapmanage.core.values.rights import keeps_names, way_to

_UMASK = 0o077
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def create(folder: Path) -> None:
    """Create the folder with rights for its owner only; raise `ConfigurationError` if another user controls it.

    From now on every file of this process is created for its owner only.
    """
    os.umask(_UMASK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise errors.ConfigurationError(f"--data-dir: can't create {folder}: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise errors.ConfigurationError(f"--data-dir {folder} is a symbolic link; name the folder that it leads to")
    if found.st_uid != os.geteuid():
        raise errors.ConfigurationError(f"--data-dir {folder} belongs to another user; choose a folder of your own")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise errors.ConfigurationError(
            f"--data-dir {folder} can't be read, written and entered by its owner; run chmod 700 {folder}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.ConfigurationError(f"other users can write to --data-dir {folder}; run chmod 700 {folder}")
    for above in way_to(folder, _link):
        if not _keeps_names(above.lstat()):
            raise errors.ConfigurationError(
                f"other users can replace --data-dir {folder}, since they can change {above}; choose another folder, "
                f"or run chmod go-w {above}"
            )


def _link(path: Path) -> Path | None:
    return path.readlink() if path.is_symlink() else None


def _keeps_names(folder: os.stat_result) -> bool:
    """Return whether only root and this user can replace the files in a folder.

    Many systems give each user a group of its own, and let it write to the user's folders.
    """
    users = {0, os.geteuid()}
    return keeps_names(folder, users) or (
        # A directory service may take long to list its users.
        bool(folder.st_mode & stat.S_IWGRP)
        and keeps_names(folder, users, trusts_group=True)
        and _members(folder.st_gid) <= users
    )


def _members(group: int) -> set[int]:
    """Return the users of a group, as far as this system lists them; -1 stands for an unknown user."""
    users = pwd.getpwall()
    numbers = {each.pw_name: each.pw_uid for each in users}
    try:
        named = {numbers.get(name, -1) for name in grp.getgrgid(group).gr_mem}
    except KeyError:
        named = {-1}
    return named | {each.pw_uid for each in users if each.pw_gid == group}


def close_files(folder: Path, names: Iterable[str]) -> None:
    """Take the rights of others from the files that exist; raise `ConfigurationError` for a link or a foreign file."""
    for path in (folder / name for name in names):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise errors.ConfigurationError(f"{path} is a symbolic link, or no file of your own; remove it")
        path.chmod(found.st_mode & ~_UMASK)


def write(path: Path, text: str) -> None:
    """Write a file as a whole; a reader finds the old or the new text. A link of that name is replaced."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def lock(folder: Path) -> IO[str]:
    """Lock the folder with its file `lock`; raise `ConfigurationError` if another process has locked it."""
    try:
        file = os.fdopen(os.open(folder / "lock", _LOCK_FLAGS, 0o600), "r+")
    except OSError as error:
        raise errors.ConfigurationError(
            f"can't open {folder}/lock ({error.strerror}); remove it if it is a symbolic link"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise errors.ConfigurationError(
            f"another process serves {folder}; stop it, or choose another --data-dir"
        ) from None
    os.fchmod(file.fileno(), 0o600)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
