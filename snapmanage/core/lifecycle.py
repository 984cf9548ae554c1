"""The moves of a record: request, accept, claim, resolve, settle, unmanage.

Each function takes a record and returns a `Change` of it, or None if the record stays as it is.
The caller writes the change only if the record's `fence` in the database is that of `Change.before`; a worker
whose change isn't written has lost its claim. `docs/explanation/architecture.md` lists the statuses.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from snapmanage import errors
from snapmanage.core import events, usermessages
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.core.change import Change
from snapmanage.core.events import Step
from snapmanage.core.origins.patterns import Origin
from snapmanage.core.origins.protection import with_origin
from snapmanage.core.records import (
    Operation,
    Record,
    Requester,
    Snapshot,
    Status,
    changed,
    identity_key,
    owner_key,
    reference_key,
)
from snapmanage.core.values.retry import Retry
from snapmanage.core.values.text import readable

R = TypeVar("R", bound=Record)

# A snapshot can be unmanaged in these statuses.
_SETTLED = (Status.AVAILABLE, Status.ERROR)
# The keys of a record that doesn't own its object.
_NOT_OWNED = {"reference_key": None, "identity_key": None}
# The fields of a record on which no batch of the driver is at work.
_NO_BATCH = {"batch_position": None, "batch_size": None}


def request(record: R) -> R:
    """Return a new record with the key of its reference, which it owns from its first write on."""
    volume_id = record.volume_id if isinstance(record, Snapshot) else None
    return changed(record, reference_key=reference_key(record.location.server, record.reference, volume_id))


def accept(
    record: R,
    operation: Operation,
    now: datetime,
    requester: Requester | None = None,
    lost: bool = False,
    generation: int | None = None,
) -> Change[R] | None:
    """Mark the request as durably received. Return None if it was already accepted or has finished.

    A sender that keeps its own records may request to unmanage a snapshot that is settled here; raise `InvalidState` if
    the snapshot is being managed. `lost` is as for `unmanage`. `generation` is that of the latest event that the sender
    knows.
    """
    under_way = Status.CREATING if operation is Operation.MANAGE else Status.UNMANAGING
    if record.status is under_way and record.due_at is None:
        return Change(record, changed(record, due_at=now))
    if operation is Operation.UNMANAGE and record.status is Status.CREATING:
        raise _not_settled(record)
    if operation is Operation.UNMANAGE and _requires_unmanage(record, requester, generation):
        requested = _unmanage_requested(record, requester or record.requester, now, lost)
        return Change(record, changed(requested, due_at=now))
    return None


def claim(record: R, worker: str, now: datetime, lease: timedelta, retry: Retry) -> Change[R] | None:
    """Claim the operation for a worker until the lease ends; let it fail if all its attempts are used.

    Return None if the operation is settled, or if a lease or a back-off still runs. The first claim of an operation
    announces its start.
    """
    if not record.status.in_progress or record.due_at is None or record.due_at > now:
        return None
    if record.attempt >= retry.max_attempts:
        last = f"; an earlier one failed: {record.reason}" if record.reason else ""
        exhausted = errors.AttemptsExhausted(
            f"gave up after {record.attempt} attempts; the last one ended without an answer of the driver{last}"
        )
        return _settle_in_error(record, exhausted, now, claim_number=record.claim_number + 1)
    first = record.started_at is None
    claimed = changed(
        record,
        generation=record.generation + int(first),
        claim_number=record.claim_number + 1,
        attempt=record.attempt + 1,
        claimed_by=worker,
        due_at=now + lease,
        started_at=now if first else record.started_at,
        updated_at=now,
        step_at=now,
        **_NO_BATCH,
    )
    event = events.announce(claimed, Step.START, now) if first and isinstance(claimed, Snapshot) else None
    return Change(record, claimed, event)


def renew(record: R, now: datetime, lease: timedelta, position: tuple[int, int] | None = None) -> Change[R]:
    """Extend the lease of a claim while the driver works; `position` is that in a batch, and the batch's size."""
    batch_position, batch_size = position or (None, None)
    return Change(record, changed(record, due_at=now + lease, batch_position=batch_position, batch_size=batch_size))


def resolve(
    snapshot: Snapshot,
    found: BackendSnapshot,
    managed_name: str,
    due_at: datetime,
    storage: str | None = None,
    origin: Origin | None = None,
) -> Change[Snapshot]:
    """Record the object that the reference means and its managed name, before the backend is touched.

    From now on the snapshot owns the object: the identity's key is unique on `storage`, or on the server if the storage
    is unknown. The metadata get its `origin`.
    """
    return Change(
        snapshot,
        changed(
            snapshot,
            storage=storage,
            backend_id=found.identity,
            backend_name=managed_name,
            original_name=found.name,
            backend_created_at=found.created_at,
            size_gb=found.size_gb,
            metadata=with_origin(snapshot.metadata, found.name, origin),
            identity_key=owner_key(storage or snapshot.location.server, found.identity),
            due_at=due_at,
            **_NO_BATCH,
        ),
    )


def succeed(record: R, found: BackendSnapshot | BackendVolume | None, now: datetime) -> Change[R]:
    """Settle an operation whose driver has succeeded; `found` is the object of a manage operation as it is now.

    A managed snapshot owns its reference until it is unmanaged. The record of an unmanaged snapshot stays as a
    tombstone for late casts. A volume keeps its name.
    """
    if record.operation is Operation.UNMANAGE:
        return _settle(record, Status.DELETED, now, deleted_at=now, **_NOT_OWNED)
    match found:
        case BackendSnapshot():
            return _settle(record, Status.AVAILABLE, now, size_gb=found.size_gb)
        case BackendVolume():
            return _settle(
                record,
                Status.AVAILABLE,
                now,
                size_gb=found.size_gb,
                backend_id=found.identity,
                backend_name=found.name,
                original_name=found.name,
                backend_created_at=found.created_at,
                identity_key=owner_key(record.location.server, found.identity),
            )
    raise TypeError(f"{record.id} is managed, but its driver has returned no object")


def fail(record: R, error: errors.SnapmanageError, now: datetime, retry: Retry) -> Change[R]:
    """Retry after a back-off if the error may pass and attempts are left; otherwise settle in `error`."""
    if isinstance(error, errors.BackendError) and record.attempt < retry.max_attempts:
        backed_off = changed(
            record,
            due_at=now + retry.delay(record.attempt),
            claimed_by=None,
            reason=readable(str(error)),
            reason_code=error.code,
            updated_at=now,
            step_at=now,
            **_NO_BATCH,
        )
        return Change(record, backed_off)
    return _settle_in_error(record, error, now)


def release(record: R, now: datetime) -> Change[R]:
    """Release a claim, so that another worker can claim it before later operations; don't count the attempt."""
    due_at = record.started_at or now
    times = {"due_at": due_at, "updated_at": now, "step_at": now}
    return Change(record, changed(record, attempt=record.attempt - 1, claimed_by=None, **times, **_NO_BATCH))


def unmanage(snapshot: Snapshot, requester: Requester, now: datetime, lost: bool = False) -> Change[Snapshot]:
    """Request to unmanage a snapshot; raise `InvalidState` unless it is settled.

    With `lost`, the object belongs to another record now, and no object is renamed.
    """
    if snapshot.status not in _SETTLED:
        raise _not_settled(snapshot)
    return Change(snapshot, _unmanage_requested(snapshot, requester, now, lost))


def _not_settled(record: Record) -> errors.InvalidState:
    return errors.InvalidState(
        f"Snapshot {record.id} is {record.status.value}; it can be unmanaged when it is available or in error."
    )


def _requires_unmanage(record: Record, requester: Requester | None, generation: int | None) -> bool:
    """Return whether a cast to unmanage is a new request, rather than a repeat of a request that has failed.

    The generation decides if the sender named one; otherwise the request's id, which each request has of its own.
    """
    if record.status not in _SETTLED:
        return False
    if record.operation is Operation.MANAGE:
        return True
    if generation is not None:
        return generation == record.generation
    request_id = requester.request_id if requester else None
    return request_id is not None and request_id != record.requester.request_id


def _unmanage_requested(record: R, requester: Requester, now: datetime, lost: bool) -> R:
    """Return the record with the request to unmanage: it owns its object again, or with `lost` has no binding."""
    if lost:
        binding = dict.fromkeys(("backend_id", "backend_name", "original_name"))
    else:
        binding = {"identity_key": identity_key(record) or record.identity_key}
    return changed(
        record,
        **binding,
        requester=replace(requester, project_id=record.requester.project_id),
        status=Status.UNMANAGING,
        operation=Operation.UNMANAGE,
        attempt=0,
        started_at=None,
        reason=None,
        reason_code=None,
        updated_at=now,
        step_at=now,
    )


def _settle(record: R, status: Status, now: datetime, **fields: Any) -> Change[R]:
    """Return the end of an operation, with the final values of `fields`, and announce it; volumes have no events."""
    settled = changed(
        record,
        **{
            "status": status,
            "generation": record.generation + 1,
            "due_at": None,
            "claimed_by": None,
            "reason": None,
            "reason_code": None,
            "updated_at": now,
            "step_at": now,
            **_NO_BATCH,
            **fields,
        },
    )
    step = Step.ERROR if status is Status.ERROR else Step.END
    return Change(record, settled, events.announce(settled, step, now) if isinstance(settled, Snapshot) else None)


def _settle_in_error(record: R, error: errors.SnapmanageError, now: datetime, **fields: Any) -> Change[R]:
    """Settle in `error`. The object of a failed manage is free for others; that of a failed unmanage stays owned."""
    if record.operation is Operation.MANAGE:
        fields |= _NOT_OWNED
    change = _settle(record, Status.ERROR, now, reason=readable(str(error)), reason_code=error.code, **fields)
    return replace(change, message=usermessages.of_failure(change.after, now))
