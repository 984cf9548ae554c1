"""Texts for missing permissions: which user lacks which right on which path, and the error of the system."""

import errno
import os
import pwd
import stat

from snapmanage import errors

_RIGHTS = ((os.R_OK, "read"), (os.W_OK, "write"), (os.X_OK, "enter"))


def user() -> str:
    """Return the user of this process, such as `user cinder (uid 64061)`."""
    number = os.geteuid()
    try:
        return f"user {pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"the user with uid {number}"


def system_error(failure: OSError) -> str:
    """Return the name and the text of a system's error, such as `EACCES: Permission denied`."""
    text, name = failure.strerror or str(failure), errno.errorcode.get(failure.errno or 0)
    return f"{name}: {text}" if name else text


def require_use(directory: str) -> None:
    """Raise `BackendPermission` unless this process may read, write and enter a directory."""
    missing = [name for right, name in _RIGHTS if not os.access(directory, right, effective_ids=True)]
    if not missing:
        return
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise errors.BackendPermission(
            f"the directory {directory!r} is on a read-only file system (EROFS): mount it writable"
        )
    rights = f"{', '.join(missing[:-1])} and {missing[-1]}" if len(missing) > 1 else missing[0]
    mode = stat.filemode(os.stat(directory).st_mode)
    raise errors.BackendPermission(
        f"{user()} can't {rights} the directory {directory!r}, whose mode is {mode} (EACCES): give it the rights rwx "
        "there, with chown, chmod or setfacl"
    )


def refused_rename(directory: str, name: str, failure: OSError) -> errors.BackendPermission:
    """Return the error for a name that can't be changed; the right to do so is one on the directory."""
    if failure.errno == errno.EPERM:
        remedy = "let it own the file or the directory, which has the sticky bit, or make the file mutable (chattr -i)"
    else:
        remedy = "give it the rights to write and enter the directory"
    return errors.BackendPermission(
        f"{user()} can't change the name {name!r} in the directory {directory!r}: {remedy} ({system_error(failure)})"
    )
