"""The number of snapshots and gigabytes that a project may manage."""

from dataclasses import dataclass

from snapmanage import errors

UNLIMITED = -1


@dataclass(frozen=True)
class Amount:
    """Snapshots and their gigabytes: the usage, or the limit (`UNLIMITED` for no bound)."""

    snapshots: int
    gigabytes: int


NO_LIMIT = Amount(UNLIMITED, UNLIMITED)


@dataclass(frozen=True)
class ProjectQuota:
    """The limits of one project; None where the default holds."""

    project_id: str
    snapshots: int | None = None
    gigabytes: int | None = None

    def over(self, default: Amount) -> Amount:
        """Return the limits that hold for the project."""
        return Amount(
            default.snapshots if self.snapshots is None else self.snapshots,
            default.gigabytes if self.gigabytes is None else self.gigabytes,
        )


def check(used: Amount, limit: Amount, size_gb: int) -> None:
    """Raise `QuotaExceeded` unless one more snapshot of `size_gb` fits."""
    _check("snapshots", used.snapshots, limit.snapshots, 1)
    _check("gigabytes", used.gigabytes, limit.gigabytes, size_gb)


def _check(what: str, used: int, limit: int, more: int) -> None:
    if limit != UNLIMITED and used + more > limit:
        raise errors.QuotaExceeded(
            f"Quota exceeded for {what}: {used} of {limit} are in use and {more} more requested; "
            "unmanage snapshots that are no longer needed, or request a higher quota."
        )
