"""Snapshots in each state of their operations."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Snapshot
from tests import examples
from tests.examples import LEASE, NOW, REQUESTER, RETRY

LATER = NOW + timedelta(seconds=1)
PASSING = errors.BackendBusy("the volume group is locked")
FINAL = errors.SourceNotFound("there is no 'daily'")


def requested_snapshot(**fields: Any) -> Snapshot:
    return replace(lifecycle.request(examples.snapshot()), **fields)


def accepted_snapshot(**fields: Any) -> Snapshot:
    return requested_snapshot(**{"due_at": NOW} | fields)


def claimed_snapshot(**fields: Any) -> Snapshot:
    """Return a snapshot that a worker claimed for the first time."""
    return replace(claim_due_record(accepted_snapshot()).after, **fields)


def resolved_snapshot(**fields: Any) -> Snapshot:
    return replace(lifecycle.resolve(claimed_snapshot(), examples.found(), "snapshot-2", NOW + LEASE).after, **fields)


def managed_snapshot(**fields: Any) -> Snapshot:
    return replace(lifecycle.succeed(resolved_snapshot(), examples.found("snapshot-2"), NOW).after, **fields)


def unmanaging_snapshot(**fields: Any) -> Snapshot:
    """Return a snapshot whose unmanaging a worker has claimed."""
    requested = lifecycle.unmanage(managed_snapshot(), REQUESTER, NOW).after
    return replace(claim_due_record(replace(requested, due_at=NOW)).after, **fields)


def claim_due_record(record: Snapshot, now: datetime = NOW) -> Change[Snapshot]:
    change = lifecycle.claim(record, "worker 1", now, LEASE, RETRY)
    assert change is not None
    return change


def event_type(change: Change[Any]) -> str | None:
    return change.event.event_type if change.event else None
