"""Moves of hosts: the records of a host, or of one of its backends, get another host, and keep everything else.

A move changes neither an object nor its owner, so it raises no generation and announces no event. The table
`host_moves` remembers it, so that earlier events, which name the earlier host, still agree with the records.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from snapmanage import errors
from snapmanage.core.records import Record, Snapshot, changed, owner_key, reference_key
from snapmanage.core.services import Service
from snapmanage.core.values.location import Location

R = TypeVar("R", bound=Record)

# Characters of a host with its backend and its pool.
LONGEST_HOST = 255


@dataclass(frozen=True)
class Move:
    """A new name for a host: `old` and `new` are both HOST, or both HOST@BACKEND."""

    old: str
    new: str

    @classmethod
    def parse(cls, old: str, new: str) -> "Move":
        """Return the move; raise `InvalidRequest` for names that are no hosts, differ in their form, or are equal."""
        for name in (old, new):
            host, at, backend = name.partition("@")
            if not host or "#" in name or "@" in backend or bool(at) != bool(backend):
                raise errors.InvalidRequest(f"{name!r} must have the form HOST or HOST@BACKEND, without a pool")
        if ("@" in old) != ("@" in new):
            raise errors.InvalidRequest(f"{old!r} and {new!r} must both be HOST, or both HOST@BACKEND")
        if old == new:
            raise errors.InvalidRequest(f"{old!r} is both the old and the new host; name another new one")
        return cls(old, new)

    def new_name(self, server: str) -> str | None:
        """Return the new name of a server; None if the move doesn't concern the server."""
        host, _, backend = server.partition("@")
        if "@" in self.old:
            return self.new if server == self.old else None
        return f"{self.new}@{backend}" if host == self.old else None


@dataclass(frozen=True)
class PastMove:
    """A move of one server that was carried out."""

    old_server: str
    new_server: str
    moved_at: datetime


@dataclass(frozen=True)
class UnservedHost:
    """A server that is down or gone, with the numbers of its records; `service` is None if it has no heartbeat."""

    server: str
    volumes: int
    snapshots: int
    service: Service | None = None

    def __str__(self) -> str:
        since = f"since {self.service.heartbeat_at:%Y-%m-%dT%H:%M:%SZ}" if self.service else "by any process"
        return (
            f"{self.volumes} volumes and {self.snapshots} snapshots are on {self.server}, which is not served {since}"
        )


def moved(record: R, server: str) -> R:
    """Return a record on another server, which owns its reference and its object there.

    A key that contains the id of the storage stays. A worker of the old server loses its claim; the lease continues, in
    case the worker still has a call to the driver under way.
    """
    old, new = record.location.server, Location.parse(server)
    fields: dict[str, Any] = {"location": replace(new, pool=record.location.pool)}
    if len(str(fields["location"])) > LONGEST_HOST:
        raise errors.InvalidRequest(f"host {fields['location']} has more than {LONGEST_HOST} characters")
    if record.reference_key:
        volume_id = record.volume_id if isinstance(record, Snapshot) else None
        fields["reference_key"] = reference_key(server, record.reference, volume_id)
    if record.backend_id and record.identity_key == owner_key(old, record.backend_id):
        fields["identity_key"] = owner_key(server, record.backend_id)
    if record.claimed_by:
        fields["claim_number"] = record.claim_number + 1
    return changed(record, **fields)


def require_down(
    servers: Collection[str], services: Mapping[str, Service], now: datetime, down_after: timedelta
) -> None:
    """Raise `InvalidState` if one of the servers has sent a heartbeat within the time `down_after`."""
    for server in sorted(servers):
        found = services.get(server)
        if found and found.alive(now, down_after):
            raise errors.InvalidState(
                f"{server} is up: its last heartbeat is of {found.heartbeat_at:%Y-%m-%dT%H:%M:%SZ}; stop its "
                f"snapmanage-volume, and repeat the command {down_after.total_seconds():g} s later"
            )


def require_same_storage(old: Service | None, new: Service | None) -> None:
    """Raise `InvalidState` if two servers are known to serve different storages."""
    if old and new and old.storage and new.storage and old.storage != new.storage:
        raise errors.InvalidState(
            f"{old.server} served the storage {old.storage}, and {new.server} serves {new.storage}; a move keeps the "
            "objects where they are, so let the new host serve the old storage first"
        )


def former_servers(moves: Sequence[PastMove], server: str) -> Set[str]:
    """Return the earlier names of a server, after any number of moves."""
    names, found = {server}, set[str]()
    while new := {each.old_server for each in moves if each.new_server in names} - found:
        found |= new
        names |= new
    return found
