"""The state of a deployment: the facts that `core.maintenance.checks` judges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from snapmanage.core.outbox import Kind
from snapmanage.core.records import Status
from snapmanage.core.services import Service

# An operation or a message is late after this time, and so is an event that the audit log lacks.
PATIENCE = timedelta(seconds=60)
# An event that the audit log lacks for longer is missing; `audit verify` has the same default.
IN_FLIGHT = timedelta(seconds=300)
# The time over which the share of failed operations is counted.
RECENT = timedelta(hours=1)


class Why(Enum):
    """The reasons for which an operation is late; a server that is down comes before all others."""

    SERVER_DOWN = "server_down"
    NOT_ACCEPTED = "not_accepted"
    UNCLAIMED = "unclaimed"
    LEASE_EXPIRED = "lease_expired"
    RUNNING = "running"
    RETRYING = "retrying"


@dataclass(frozen=True)
class Amount:
    """A number of snapshots, and the sum of their sizes in GiB; an unknown size counts as 0."""

    count: int = 0
    gigabytes: int = 0


@dataclass(frozen=True)
class Waiting:
    """A number of messages, and the time since which the oldest one waits; None without any."""

    count: int = 0
    oldest: datetime | None = None

    def age(self, now: datetime) -> timedelta:
        return max(now - self.oldest, timedelta(0)) if self.oldest else timedelta(0)


@dataclass(frozen=True)
class Audit:
    """The audit log: the number of its last row, the first break of the rows that were read, and its backlog.

    `head` is None if the row of the head is missing. `unrecorded` are the events that the log lacks though they left
    the outbox: the latest one of each snapshot. `missing` are those among them that are older than `IN_FLIGHT`.
    """

    head: int | None = 0
    broken: str | None = None
    lag: timedelta = timedelta(0)
    unrecorded: int = 0
    missing: int = 0


@dataclass(frozen=True)
class Facts:
    """The state of a deployment in its database at the time `now`.

    `late` has the operations that take longer than `PATIENCE`, `oldest_due` the times since which a worker could have
    claimed an operation, and `settled` the outcomes within the time `RECENT`.
    """

    now: datetime
    down_after: timedelta
    services: Sequence[Service] = ()
    snapshots: Mapping[tuple[str, Status], Amount] = field(default_factory=dict)
    late: Mapping[tuple[str, Why], int] = field(default_factory=dict)
    oldest_due: Mapping[str, datetime] = field(default_factory=dict)
    settled: Mapping[tuple[str, Status], int] = field(default_factory=dict)
    outbox: Mapping[Kind, Waiting] = field(default_factory=dict)
    quarantine: Mapping[str, Waiting] = field(default_factory=dict)
    audit: Audit = Audit()

    @property
    def servers(self) -> list[str]:
        """Return the servers that ever had a heartbeat, and those that only records name."""
        return sorted({*(each.server for each in self.services), *(server for server, _ in self.snapshots)})

    def is_up(self, service: Service) -> bool:
        return service.alive(self.now, self.down_after)


@dataclass(frozen=True)
class QueueFacts:
    """A queue as the broker reports it: its messages and its consumers, None if it does not exist."""

    name: str
    messages: int | None = None
    consumers: int | None = None


def with_reasons(
    late: Mapping[tuple[str, Why], int], services: Iterable[Service], now: datetime, down_after: timedelta
) -> dict[tuple[str, Why], int]:
    """Return the late operations with the reason `SERVER_DOWN` for each server that is not up."""
    up = {each.server for each in services if each.alive(now, down_after)}
    counted: dict[tuple[str, Why], int] = {}
    for (server, why), count in late.items():
        key = server, why if server in up else Why.SERVER_DOWN
        counted[key] = counted.get(key, 0) + count
    return counted
