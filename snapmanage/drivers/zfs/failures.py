"""Failures of the command `zfs`, read from its exit code and its messages on standard error."""

import re

from snapmanage import errors
from snapmanage.drivers.system.failures import KnownFailure, command_error

_OF_A_NAME = re.compile(r"cannot open '([^']*)': .*")
# The texts of EIO and, on Linux, of ECKSUM.
_DAMAGE = r"I/O error|Invalid exchange"
# Failures by the text on standard error, the most specific first.
_FAILURES = {
    r"[Pp]ermission denied": KnownFailure(
        errors.BackendPermission, "run snapmanage as root, or delegate the rights to its user with zfs allow"
    ),
    r"dataset already exists": KnownFailure(errors.NameTaken, "rename the other snapshot"),
    r"dataset is busy": KnownFailure(errors.InUse, "end the processes that use its folder beneath .zfs/snapshot"),
    r"currently suspended": KnownFailure(errors.BackendUnavailable, "see zpool status"),
    r"zfs-fuse daemon is running|ZFS modules": KnownFailure(errors.BackendUnavailable, "start ZFS"),
    _DAMAGE: KnownFailure(errors.BackendError, "see zpool status -v"),
    r"is read-only": KnownFailure(errors.BackendPermission, "import the pool writable"),
    r"dataset does not exist": KnownFailure(errors.SourceNotFound, "list the backend again"),
}


def of_names(error: str) -> dict[str, str]:
    """Return the messages that concern one object each, by its name; no name of ZFS has a quotation mark."""
    return {found[1]: found[0] for found in _OF_A_NAME.finditer(error)}


def is_absence(message: str) -> bool:
    """Return whether the message on one object means that it doesn't exist."""
    return "dataset does not exist" in message


def damaged(error: str) -> bool:
    """Return whether ZFS reports that a part of the pool can't be read."""
    return re.search(_DAMAGE, error) is not None


def may_pass(code: int, error: str) -> bool:
    """Return whether the whole backend is unavailable or refuses access, so that a retry may succeed."""
    return code < 0 or isinstance(failure("", code, error), errors.BackendUnavailable | errors.BackendPermission)


def failure(action: str, code: int, error: str) -> errors.SnapmanageError:
    """Return the error of a command that failed."""
    return command_error(action, "zfs", code, error, _FAILURES)
