"""The numbers of snapshots, gigabytes, volumes and failed records that a project may have."""

from collections.abc import Iterable
from dataclasses import dataclass

from snapmanage import errors
from snapmanage.core.records import Snapshot

UNLIMITED = -1
# The kinds of limits, each with the remedy for a project that has reached it.
REMEDIES = {
    "snapshots": "unmanage snapshots that are no longer needed, or request a higher quota",
    "gigabytes": "unmanage snapshots that are no longer needed, or request a higher quota",
    "volumes": "unmanage volumes that are no longer needed, or request a higher quota",
    "failed_records": "unmanage or retry the snapshots and volumes in error, or ask the administrator to purge failed "
    "records or to raise the quota",
}
KINDS = tuple(REMEDIES)


@dataclass(frozen=True)
class Usage:
    """The numbers of owned snapshots, of their gigabytes, of registered volumes, and of failed records."""

    snapshots: int = 0
    gigabytes: int = 0
    volumes: int = 0
    failed_records: int = 0

    def plus(self, more: "Usage") -> "Usage":
        return Usage(*(getattr(self, kind) + getattr(more, kind) for kind in KINDS))

    def minus(self, part: "Usage") -> "Usage":
        return Usage(*(getattr(self, kind) - getattr(part, kind) for kind in KINDS))


NOTHING = Usage()
ONE_VOLUME = Usage(volumes=1)
ONE_FAILED_RECORD = Usage(failed_records=1)


@dataclass(frozen=True)
class Limits:
    """The largest usage of a project; `UNLIMITED` is no bound."""

    snapshots: int = UNLIMITED
    gigabytes: int = UNLIMITED
    volumes: int = UNLIMITED
    failed_records: int = UNLIMITED

    @property
    def limit_snapshots(self) -> bool:
        """Return whether the number or the size of a project's snapshots is limited."""
        return (self.snapshots, self.gigabytes) != (UNLIMITED, UNLIMITED)


NO_LIMIT = Limits()


@dataclass(frozen=True)
class ProjectQuota:
    """The limits of one project; None where the default holds."""

    project_id: str
    snapshots: int | None = None
    gigabytes: int | None = None
    volumes: int | None = None
    failed_records: int | None = None

    def over(self, default: Limits) -> Limits:
        """Return the limits that hold for the project."""
        own = ((kind, getattr(self, kind)) for kind in KINDS)
        return Limits(*(getattr(default, kind) if limit is None else limit for kind, limit in own))


def usage_of(snapshot: Snapshot) -> Usage:
    """Return the part of its project's usage that a snapshot is; an unknown size counts as 0 GiB."""
    owned = snapshot.reference_key is not None or snapshot.identity_key is not None
    return Usage(snapshots=1, gigabytes=snapshot.size_gb or 0) if owned else NOTHING


def check(used: Usage, limits: Limits, more: Usage, counted: Usage = NOTHING) -> None:
    """Raise `QuotaExceeded` unless `more` fits.

    `counted` is the part of `more` that `used` contains already. A kind of which `more` has no more than `counted` is
    not checked, so that a lowered limit refuses nothing that was granted.
    """
    for kind, remedy in REMEDIES.items():
        limit, wanted, part = getattr(limits, kind), getattr(more, kind), getattr(counted, kind)
        others = getattr(used, kind) - part
        if limit != UNLIMITED and wanted > part and others + wanted > limit:
            raise errors.QuotaExceeded(
                f"Quota exceeded for {kind}: {others} of {limit} are in use and {wanted} more requested; {remedy}."
            )


def oversized(
    used: Usage, limits: Limits, resolved: Iterable[tuple[Snapshot, Snapshot]]
) -> dict[str, errors.QuotaExceeded]:
    """Return the refusals of snapshots that don't fit into their project's quota with their real sizes, by id.

    `resolved` are pairs of a snapshot as `used` contains it, and with its real size; each pair is decided after the
    pairs before it. A refused snapshot leaves its part of the quota to the others.
    """
    refusals: dict[str, errors.QuotaExceeded] = {}
    for before, after in resolved:
        counted, more = usage_of(before), usage_of(after)
        try:
            check(used, limits, more, counted)
        except errors.QuotaExceeded as error:
            refusals[after.id] = error
            more = NOTHING
        used = used.minus(counted).plus(more)
    return refusals
