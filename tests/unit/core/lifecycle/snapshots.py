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


def requested(**fields: Any) -> Snapshot:
    return replace(lifecycle.request(examples.snapshot()), **fields)


def accepted(**fields: Any) -> Snapshot:
    return requested(**{"due_at": NOW} | fields)


def claimed(**fields: Any) -> Snapshot:
    """Return a snapshot that a worker claimed for the first time."""
    return replace(taken(accepted()).after, **fields)


def resolved(**fields: Any) -> Snapshot:
    return replace(lifecycle.resolve(claimed(), examples.found(), "snapshot-2", NOW + LEASE).after, **fields)


def managed(**fields: Any) -> Snapshot:
    return replace(lifecycle.succeed(resolved(), examples.found("snapshot-2"), NOW).after, **fields)


def being_unmanaged(**fields: Any) -> Snapshot:
    """Return a snapshot that a worker claimed in order to unmanage it."""
    asked = lifecycle.unmanage(managed(), REQUESTER, NOW).after
    return replace(taken(replace(asked, due_at=NOW)).after, **fields)


def taken(record: Snapshot, now: datetime = NOW) -> Change[Snapshot]:
    change = lifecycle.claim(record, "worker 1", now, LEASE, RETRY)
    assert change is not None
    return change


def event_type(change: Change[Any]) -> str | None:
    return change.event.event_type if change.event else None
