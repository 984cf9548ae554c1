"""What went wrong in a command of ZFS, read from its exit code and from what it says on standard error."""

import re
from collections.abc import Container, Sequence

from snapmanage import errors

# The texts of EIO and, on Linux, of ECKSUM.
_DAMAGE = r"I/O error|Invalid exchange"
# What stderr may add to an exit code, most telling first.
_MEANINGS: Sequence[tuple[str, type[errors.SnapmanageError], str]] = (
    (r"[Pp]ermission denied", errors.BackendPermission, "let snapmanage be root, or delegate to it with zfs allow"),
    (r"dataset already exists", errors.NameTaken, "rename the other one"),
    (r"dataset is busy", errors.InUse, "see who is in its folder beneath .zfs/snapshot"),
    (r"currently suspended", errors.BackendUnavailable, "see zpool status"),
    (r"zfs-fuse daemon is running|ZFS modules", errors.BackendUnavailable, "start ZFS"),
    (_DAMAGE, errors.BackendError, "see zpool status -v"),
    (r"is read-only", errors.BackendPermission, "import the pool writable"),
    (r"dataset does not exist", errors.SourceNotFound, "list the backend again"),
)


def only_absent(asked: Sequence[str], found: Container[str], error: str) -> bool:
    """Whether each name that wasn't reported is said not to be there, and nothing else went wrong."""
    absent = [name for name in asked if name not in found]
    return all(f"cannot open '{name}': dataset does not exist" in error for name in absent)


def damaged(error: str) -> bool:
    """Whether ZFS says that something on the pool can't be read."""
    return re.search(_DAMAGE, error) is not None


def may_pass(code: int, error: str) -> bool:
    """Whether the command failed for all of the backend, in a way that may pass."""
    return code < 0 or isinstance(failure("", code, error), errors.BackendUnavailable | errors.BackendPermission)


def line(text: str) -> str:
    """Return what was said on one line."""
    return " ".join(text.split())


def failure(doing: str, code: int, error: str) -> errors.SnapmanageError:
    """What went wrong in a command that failed, as far as it can be told."""
    said = line(error)
    if code < 0:
        return errors.BackendUnavailable(f"{doing} was ended at its deadline (signal {-code}): {said}")
    for text, kind, remedy in _MEANINGS:
        if re.search(text, error):
            return kind(f"{doing} failed: {remedy} (zfs says: {said})")
    return errors.BackendError(f"{doing} failed with exit code {code}: {said}")
