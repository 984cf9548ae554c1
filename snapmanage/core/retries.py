"""Retry the operation of a record in `error`, at the request of a client."""

from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core.change import Change
from snapmanage.core.records import Record, Requester, Status, changed, identity_key

R = TypeVar("R", bound=Record)


def require_failed(record: Record) -> None:
    """Raise `InvalidState` unless the record is in `error`."""
    if record.status is not Status.ERROR:
        raise errors.InvalidState(
            f"{type(record).__name__} {record.id} is {record.status.value}; only an operation that has ended in error "
            "can be retried."
        )


def retry_manage(record: R, requester: Requester, now: datetime) -> Change[R]:
    """Request a failed manage or registration again, with all its attempts; raise `InvalidState` unless it failed.

    The record owns its reference and its object again. A snapshot whose object was found keeps its binding, since the
    object may have the managed name already.
    """
    require_failed(record)
    requested = changed(
        lifecycle.request(record),
        identity_key=identity_key(record),
        requester=replace(requester, project_id=record.requester.project_id),
        status=Status.CREATING,
        attempt=0,
        started_at=None,
        reason=None,
        reason_code=None,
        updated_at=now,
        step_at=now,
    )
    return Change(record, requested)
